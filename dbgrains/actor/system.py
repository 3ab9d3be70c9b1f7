"""ActorSystem: one process's actors and everything they share.

Nothing here is global: several systems live side by side in one process. A system belongs to the event loop on
which it is first used.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import secrets
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import structlog

from dbgrains.actor.actor_cell import ActorCell, start_actor
from dbgrains.actor.clock import Clock, SystemClock
from dbgrains.actor.coarse_clock import CoarseClock
from dbgrains.actor.dead_letter import DeadLetters
from dbgrains.actor.event_stream import EventStream
from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.future import PendingFutures
from dbgrains.actor.middleware import compose
from dbgrains.actor.pid import LOCAL_ADDRESS, PID
from dbgrains.actor.props import SpawnCall
from dbgrains.actor.registry import Registry
from dbgrains.actor.root_context import RootContext
from dbgrains.actor.sending import INLINE_BUDGET
from dbgrains.actor.shutdown import stop_everything
from dbgrains.actor.ulids import draw_ulid
from dbgrains.actor.workers import WorkerPool
from dbgrains.config import ActorSystemConfig
from dbgrains.errors import StoppedError

_log = structlog.get_logger()


class ActorSystem:
    """Where actors live. `await shutdown()` when done, or use it with `async with`."""

    def __init__(
        self,
        name: str = "",
        config: ActorSystemConfig | None = None,
        clock: Clock | None = None,
        *,
        draw_ulid: Callable[[], str] = draw_ulid,
    ) -> None:
        self.name = name or "local"
        self.config = config or ActorSystemConfig()
        self.clock: Clock = clock or SystemClock()
        self.seed = self.config.seed if self.config.seed is not None else secrets.randbits(63)
        self.random = random.Random(self.seed)
        """The only source of randomness: one seed replays one run."""
        self.coarse = CoarseClock(self.clock)
        self.in_turn = False
        """An inline turn runs at this very moment: another one must not be nested in it."""
        self.inline_left = INLINE_BUDGET
        self.throughput = self.config.throughput
        self.workers = WorkerPool(self.coarse)
        self.pending = PendingFutures(self)
        self.event_stream = EventStream(self)
        self.dead_letters = DeadLetters(self)
        self.registry = Registry(self.dead_letters)
        self.root = RootContext(self)
        self.cluster: Any = None
        """The Cluster that this system belongs to, if any."""
        self.shutdown_event = asyncio.Event()
        """Set when the system has stopped, for whatever reason."""
        self._callbacks: list[Callable[[], Awaitable[object] | object]] = []
        self._stopping: asyncio.Task[None] | None = None
        self._id = ""
        self.draw_ulid = draw_ulid
        """Makes ids unique: this one, and those of the members that this process becomes."""
        self.id = f"{self.name}.{draw_ulid()}"
        if self.config.seed is None:
            _log.debug("drew a seed", system=self.name, member=self.id, seed=self.seed)

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that this system runs on."""
        return asyncio.get_running_loop()

    @cached_property
    def now(self) -> Callable[[], float]:
        """`clock.now`, by the shortest way: `system.now()`."""
        return self.loop.time if type(self.clock) is SystemClock else self.clock.now

    # --- who am I

    @property
    def id(self) -> str:
        """This incarnation's member id."""
        return self._id

    @id.setter
    def id(self, id: str) -> None:
        self._id = id
        self.registry.member_ids.add(id)
        self._identify()

    @property
    def address(self) -> str:
        """Where other processes reach this one; LOCAL_ADDRESS while they can't."""
        return self.registry.address

    @address.setter
    def address(self, address: str) -> None:
        self.registry.address = address
        self._identify()

    def _identify(self) -> None:
        self.registry.member_id = "" if self.registry.address == LOCAL_ADDRESS else self._id

    def pid_of(self, id: str) -> PID:
        """The PID of the local process with this id."""
        return PID(self.registry.address, id, self.registry.member_id)

    # --- actors

    def spawn(self, call: SpawnCall) -> PID:
        """Spawn as `call` says, through the spawn middleware of its Props. Users call `root.spawn`."""
        if self.is_stopping:
            raise StoppedError(f"actor system {self.name!r} has stopped and cannot spawn {call.id!r}")
        spawner = call.props.spawner or start_actor
        if call.props.spawn_middleware:
            return compose(call.props.spawn_middleware, spawner)(call)
        return spawner(call)

    def root_cells(self) -> list[ActorCell]:
        """The actors without a parent, oldest first; grains are not among them."""
        return [p for p in self.registry.local_processes() if isinstance(p, ActorCell) and p.parent is None]

    def render(self, message: object) -> str:
        """`message` for a log or an error text: its type only, unless the config says otherwise."""
        diagnostics = self.config.diagnostics
        return type(message).__name__ if diagnostics is None else diagnostics(message)

    # --- the end

    @property
    def is_stopping(self) -> bool:
        """Whether `shutdown` was called."""
        return self._stopping is not None

    def on_shutdown(self, callback: Callable[[], Awaitable[object] | object]) -> None:
        """Call `callback` when shutdown begins, before any actor is stopped; the latest one first."""
        self._callbacks.append(callback)

    async def shutdown(self) -> None:
        """Stop every actor, children before parents, within `stop_timeout_s`; cancel what has not stopped by then.

        Afterwards nothing of this system runs any more. A second call waits for the first.
        """
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._shutdown(), name="dbgrains shutdown")
        await asyncio.shield(self._stopping)

    async def _shutdown(self) -> None:
        try:
            for callback in reversed(self._callbacks):
                try:
                    result = callback()
                    if inspect.isawaitable(result):
                        await result
                except Exception as error:  # noqa: BLE001 - one callback's error must not keep the actors alive
                    _log.warning("shutdown callback failed", **failure_fields(error))
            await stop_everything(self)
        finally:
            self.shutdown_event.set()

    async def __aenter__(self) -> ActorSystem:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    def __repr__(self) -> str:
        return f"ActorSystem({self.name!r}, id={self.id}, {len(self.registry)} processes)"
