"""A cluster in virtual time: whole `Cluster` objects in simulated processes, and everything around them.

    def story(sim):
        async def run():
            one, two = await sim.add_member("one"), await sim.add_member("two")
            client = await sim.add_client("client")
            await client.request("x", "counter", Add(1))
            one.crash()
            ...
        return run()

    Simulation(seed=7, kinds=lambda sim: [...], messages=[Add]).run(story)

The members are the product as it runs in production: cluster, router, activator, lookup with its lease loop,
links. Three things are replaced, through the same doors that a user has: the clock and the event loop, the
transport, and the database behind the storage. So what is found here is found in the product.

Any identity lookup can be driven: `lookup` makes one per member, by default the database lookup on the
simulated database.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from dbgrains.actor.system import ActorSystem
from dbgrains.cluster.cluster import Cluster, ClusterState
from dbgrains.cluster.interfaces import IdentityLookup
from dbgrains.cluster.kind import HasClusterKind
from dbgrains.config import ActorSystemConfig, ClusterConfig, LeaseConfig, RemoteConfig
from dbgrains.lookups.db import DbIdentityLookup
from dbgrains.sansio.identity import ulid
from dbgrains.storage.memory import MemoryIdentityStorage
from dbgrains.storage.memory_shard import MemoryShard
from dbgrains.testing.cluster_fixture import open_storage
from dbgrains.testing.simulation.database import DatabaseLink, SimulatedDatabase, SimulatedStorage
from dbgrains.testing.simulation.history import History, Watcher
from dbgrains.testing.simulation.membership import SimulatedProvider, SimulatedRegistry
from dbgrains.testing.simulation.network import EVERYBODY, SimulatedNetwork
from dbgrains.testing.simulation.table import TokenTable
from dbgrains.testing.simulation.timeline import Process, Timeline
from dbgrains.testing.virtual_clock import EPOCH_S

T = TypeVar("T")

NAME: Final = "simulated"


def simulated_config(lease: LeaseConfig | None = None) -> ClusterConfig:
    """Short times, which cost nothing but keep the schedule of a run short."""
    return ClusterConfig(
        request_timeout_s=1.0,
        activation_timeout_s=2.0,
        shutdown_timeout_s=2.0,
        rejoin_attempts_max=1_000,
        lease=lease or LeaseConfig.for_tests(),
    )


def simulated_links() -> RemoteConfig:
    """Links that find out within a second that a peer is gone."""
    return RemoteConfig(
        connect_timeout_s=0.5,
        reconnect_min_s=0.05,
        reconnect_max_s=0.4,
        unreachable_after_s=1.0,
        handshake_timeout_s=1.0,
        drain_timeout_s=0.2,
    )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a simulation is made of. Everything that differs from member to member is made by a function, in it."""

    kinds: Callable[[Simulation], Iterable[HasClusterKind]] = lambda sim: ()
    messages: tuple[type, ...] = ()
    config: ClusterConfig = field(default_factory=simulated_config)
    links: RemoteConfig = field(default_factory=simulated_links)
    shards: int = 1
    lookup: Callable[[Simulation, Process, MemoryIdentityStorage], IdentityLookup] = lambda sim, process, storage: (
        DbIdentityLookup(storage)
    )
    storage: Callable[[SimulatedDatabase, int], MemoryIdentityStorage] = lambda database, shards: SimulatedStorage(
        database, shards=shards
    )
    is_open: bool = True
    """The database has been in use before: it grants at once. False: empty, it begins with a quarantine."""


class Simulation:
    """One run, from one seed."""

    def __init__(self, stage: Stage, *, seed: int = 0) -> None:
        self.stage = stage
        self.seed = seed
        self.timeline = Timeline()
        self.history = History(self.timeline)
        self.links: dict[str, DatabaseLink] = {}
        self.network = SimulatedNetwork(self.timeline, str(seed))
        self.primary = SimulatedDatabase(self.timeline, self.link, seed=seed, states=self.history.states)
        """The database that members connect to."""
        self.registry = SimulatedRegistry(self.timeline)
        self.registry.is_cut_off = lambda process: self.network.is_blocked(process.name, EVERYBODY)
        self.table = TokenTable(self.timeline)
        self.members: list[SimulatedMember] = []
        """The living ones, in the order in which they came."""
        self.clients: list[SimulatedClient] = []
        self.watcher = Watcher(self.history, self.timeline)
        self.timeline.on_round = self.watcher.look
        self._director = self.timeline.process("director")

    @property
    def now(self) -> float:
        return self.timeline.now

    def random(self, purpose: str) -> random.Random:
        """A generator for one purpose; what one draws does not change what others get."""
        return random.Random(f"{self.seed}/{purpose}")

    def link(self, name: str) -> DatabaseLink:
        """The connection of the process with this name to the database."""
        link = self.links.get(name)
        if link is None:
            link = self.links[name] = DatabaseLink(str(self.seed), name, self.network.latency_s)
        return link

    def run(self, story: Callable[[Simulation], Coroutine[Any, Any, T]]) -> T:
        """Run `story` in a process of its own, until it has ended; then everything ends."""
        try:
            return self.timeline.run(self._director, story(self))
        finally:
            self.close()

    def close(self) -> None:
        """End everything. Only what was learned stays."""
        self.history.close(self.now)
        for process in self.timeline.processes:
            self.history.unconsumed(process)
        self.timeline.close()

    # --- who takes part

    async def add_member(self, name: str, *, rate: float = 1.0, offset_s: float | None = None) -> SimulatedMember:
        """A member that has joined. A name that was used before is the same machine, restarted."""
        member = self.make_member(name, rate=rate, offset_s=offset_s)
        await member.process.run(member.cluster.start_member())
        return member

    def make_member(self, name: str, *, rate: float = 1.0, offset_s: float | None = None) -> SimulatedMember:
        """A member whose process runs, and which has not joined yet."""
        return SimulatedMember(self, name, rate=rate, offset_s=offset_s)

    async def add_client(self, name: str) -> SimulatedClient:
        """A process that only calls."""
        client = SimulatedClient(self, name)
        await client.process.run(client.cluster.start_client())
        self.clients.append(client)
        return client

    def member(self, name: str) -> SimulatedMember | None:
        """The living member on the machine with this name."""
        return next((member for member in self.members if member.name == name), None)

    def owner(self, identity: str, kind: str) -> SimulatedMember | None:
        """The first living member on which the identity is active."""
        return next((member for member in self.members if identity in member.active(kind)), None)

    # --- the database

    def shard(self, number: int = 0) -> MemoryShard:
        """A shard's data, to look at and to damage."""
        return self.primary.shard(NAME, number)

    async def open_database(self) -> None:
        """Begin the history of the database without a quarantine, as if it had been in use for long."""
        await open_storage(MemoryIdentityStorage(self.primary, shards=self.stage.shards), NAME)

    def connect_to(self, database: SimulatedDatabase, members: Iterable[SimulatedMember]) -> None:
        """Let these members' next operations go to another server."""
        for member in members:
            member.storage.database = database

    # --- time

    async def sleep(self, seconds: float) -> None:
        """Let true time pass; only in the story's own process."""
        await asyncio.sleep(seconds)

    async def until(self, condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
        """Wait until something has become true; AssertionError when it does not in time."""
        deadline = self.now + timeout_s
        while not condition():
            if self.now >= deadline:
                raise AssertionError(f"not true within {timeout_s:g} s (at {self.now:.3f} s): {self!r}")
            await asyncio.sleep(0.01)

    def __repr__(self) -> str:
        return f"Simulation(seed={self.seed}, now={self.now:.3f}, members={self.members}, clients={self.clients})"


class _Party:
    """A process with a `Cluster` in it."""

    def __init__(self, sim: Simulation, name: str, *, rate: float, offset_s: float | None) -> None:
        self.sim = sim
        self.name = name
        draw = random.Random(f"{sim.seed}/process/{name}/{sim.now:.6f}")
        self.process = sim.timeline.process(
            name, rate=rate, offset_s=draw.uniform(0, 1000) if offset_s is None else offset_s
        )
        self.storage = sim.stage.storage(sim.primary, sim.stage.shards)
        self._ids = draw
        stage = sim.stage
        self.system = ActorSystem(
            NAME,
            ActorSystemConfig(seed=draw.getrandbits(62), request_timeout_s=stage.config.request_timeout_s),
            self.process.clock,
            draw_ulid=self._draw_ulid,
        )
        self.cluster = Cluster(
            name=NAME,
            provider=SimulatedProvider(sim.registry, self.process),
            lookup=stage.lookup(sim, self.process, self.storage),
            kinds=stage.kinds(sim),
            messages=stage.messages,
            remote=stage.links,
            transport=sim.network.transport(self.process),
            config=replace(stage.config, node_name=name),
            system=self.system,
        )

    @property
    def id(self) -> str:
        return self.system.id

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` in this process."""
        return self.process.spawn(work)

    async def request(self, identity: str, kind: str, message: object, timeout: float | None = None) -> Any:
        """As `Cluster.request`, in this process, from whichever process this is awaited in."""
        return await self.process.run(self.cluster.request(identity, kind, message, timeout))

    def _draw_ulid(self) -> str:
        return ulid(round((EPOCH_S + self.sim.now) * 1000), self._ids.getrandbits(80))

    def __repr__(self) -> str:
        return f"{self.id} ({self.cluster.state.value}, {self.process!r})"


class SimulatedMember(_Party):
    """A member on the machine with its name."""

    def __init__(self, sim: Simulation, name: str, *, rate: float = 1.0, offset_s: float | None = None) -> None:
        super().__init__(sim, name, rate=rate, offset_s=offset_s)
        sim.members.append(self)
        sim.watcher.watch(self.process, self.cluster)
        self.process.on_pause.append(sim.watcher.paused)
        self.process.on_crash.append(self._crashed)

    @property
    def link(self) -> DatabaseLink:
        """Its connection to the database."""
        return self.sim.link(self.name)

    @property
    def is_running(self) -> bool:
        """It takes part, and its process runs."""
        return self.process.is_running and self.cluster.state is ClusterState.RUNNING

    def active(self, kind: str) -> dict[str, Any]:
        """Its activations of a kind, by identity."""
        node = self.cluster._node
        hosted = None if node is None else node.activator.kinds.get(kind)
        return {} if hosted is None else hosted.active

    def crash(self, *, power: bool = True) -> None:
        """End its process as `kill -9` does; without `power` nobody is told by a reset of streams either."""
        if not power:
            self.sim.network.powerless.add(self.name)
        self.process.crash()

    def pause(self, seconds: float) -> None:
        """Stop its process, as SIGSTOP does, for a while."""
        self.process.pause(seconds)

    async def leave(self) -> None:
        """Shut it down in good order, and end its process."""
        await self.process.run(self.cluster.shutdown())
        self.process.crash()

    def _crashed(self, process: Process) -> None:
        self.sim.members.remove(self)
        self.sim.watcher.ended(process)
        self.sim.history.unconsumed(process)


class SimulatedClient(_Party):
    """A process that only calls."""

    def __init__(self, sim: Simulation, name: str) -> None:
        super().__init__(sim, name, rate=1.0, offset_s=None)

    async def call(
        self, identity: str, kind: str, message: object, timeout: float | None = None, *, operation: Any = None
    ) -> Any:
        """A request that the history records, with what became of it. `operation` says what it means to a checker."""
        return await self.process.run(self._call(identity, kind, message, timeout, operation))

    async def _call(self, identity: str, kind: str, message: object, timeout: float | None, operation: Any) -> Any:
        call = self.sim.history.begin(self.name, kind, identity, message if operation is None else operation)
        try:
            answer = await self.cluster.request(identity, kind, message, timeout)
        except BaseException as error:
            call.failed(self.sim.now, error)
            raise
        call.answered(self.sim.now, answer)
        return answer
