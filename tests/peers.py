"""Systems with remotes, for tests: over a network in memory, or over gRPC on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.messages import Terminated
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.config import RemoteConfig
from dbgrains.errors import DbgrainsError
from dbgrains.remote.events import EndpointConnected, EndpointTerminated
from dbgrains.remote.handshake import Hello
from dbgrains.remote.memory_transport import MemoryNetwork
from dbgrains.remote.remote import Remote


class Call(ReplyTo):
    """Waits for one answer, and counts how often it was told its end."""

    def __init__(self) -> None:
        self.future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.headers: Headers | None = None
        self.ends = 0

    def reply(self, message: object, headers: Headers | None = None) -> None:
        self.ends += 1
        self.headers = headers
        if not self.future.done():
            self.future.set_result(message)

    def fail(self, error: DbgrainsError) -> None:
        self.ends += 1
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()

    async def answer(self) -> Any:
        """What came; raises the error that came. AssertionError when nothing does."""
        done, _ = await asyncio.wait({self.future}, timeout=10.0)
        assert done, "no answer came"
        return self.future.result()

    @property
    def is_waiting(self) -> bool:
        return not self.future.done()


class Peer:
    """One process: a system and its remote."""

    def __init__(self, system: ActorSystem, remote: Remote) -> None:
        self.system = system
        self.remote = remote
        self.events: list[object] = []
        system.event_stream.subscribe((EndpointConnected, EndpointTerminated), self.events.append)

    @property
    def address(self) -> str:
        return self.system.address

    @property
    def id(self) -> str:
        return self.system.id

    def pid(self, name: str) -> PID:
        return PID(self.address, name, self.id)

    def ask(
        self,
        target: PID,
        message: object,
        timeout: float | None = 5.0,
        headers: Headers | None = None,
    ) -> Call:
        """Post a request the way the cluster does."""
        call = Call()
        deadline = None if timeout is None else self.system.clock.now() + timeout
        self.remote.post_request(target.address, target.member_id, target.id, message, call, deadline, headers)
        return call

    def spawn(self, name: str, handler: Callable[[ActorCell], object]) -> PID:
        return self.system.root.spawn_named(Props.from_function(handler), name)

    def echo(self, name: str = "echo") -> PID:
        """An actor that answers everything with itself."""
        return self.spawn(name, _echo)

    def recorder(self, name: str = "recorder") -> tuple[PID, list[object]]:
        """An actor that keeps what it gets, except for what its own life brings."""
        messages: list[object] = []

        def keep(context: ActorCell) -> None:
            if isinstance(context.message, str | int | bytes | Terminated):
                messages.append(context.message)

        return self.spawn(name, keep), messages


def _echo(context: ActorCell) -> None:
    if isinstance(context.sender, ReplyTo | PID):
        context.respond(context.message)


class Peers:
    """Makes peers, and stops them at the end of a test."""

    def __init__(self, stack: AsyncExitStack, network: MemoryNetwork | None) -> None:
        self.network = network
        self._stack = stack

    async def start(self, name: str, hello: Hello | None = None, **config: Any) -> Peer:
        """A peer with a port of its own."""
        system = ActorSystem(name)
        transport = None if self.network is None else self.network.transport(name)
        remote = Remote(system, RemoteConfig(**config), transport)
        peer = Peer(system, remote)
        self._stack.push_async_callback(system.shutdown)
        await remote.start(hello)
        return peer

    async def start_client(self, name: str, **config: Any) -> Peer:
        """A peer without a port."""
        return await self.start(name, Hello(address=f"client:{name}"), **config)
