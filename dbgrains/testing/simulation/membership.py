"""A simulated registry of members: what a cluster provider would be connected to.

A member registers and sends heartbeats; the registry forgets who was silent for too long, rightly or not, and
tells everybody after a while. So a list is always a little old, a paused member is gone from it and comes back,
and one that left stays listed for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dbgrains.cluster.interfaces import ClusterServices
from dbgrains.sansio.topology import Member
from dbgrains.testing.simulation.timeline import Process, Timeline


class SimulatedRegistry:
    """Who is registered, and who wants to know."""

    def __init__(
        self, timeline: Timeline, *, beat_interval_s: float = 0.25, expiry_s: float = 1.0, news_s: float = 0.005
    ) -> None:
        self.timeline = timeline
        self.beat_interval_s = beat_interval_s
        self.expiry_s = expiry_s
        """A member not heard of for this long is no longer listed."""
        self.news_s = news_s
        """How long news are on their way."""
        self.is_cut_off: Callable[[Process], bool] = lambda process: False
        """Whether a process cannot reach the registry, nor be reached by it."""
        self.evicted: set[str] = set()
        """Names of processes that are not listed, whatever they say."""
        self.version = 0
        """Counts changes of the list."""
        self._members: dict[str, tuple[Member, float]] = {}
        self._listeners: dict[SimulatedProvider, None] = {}

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(member for member, _ in self._members.values())

    def beat(self, process: Process, member: Member) -> None:
        """From a member: it is alive."""
        if not self.is_cut_off(process) and process.name not in self.evicted:
            self.timeline.after(self.news_s, lambda: self._heard(member))

    def remove(self, process: Process, member: Member) -> None:
        """From a member: it leaves."""
        if not self.is_cut_off(process):
            self.timeline.after(self.news_s, lambda: self._forget(member.id))

    def evict(self, name: str) -> None:
        """Take the members on a machine off the list, now and until they are `evicted` no more: a wrong opinion."""
        self.evicted.add(name)
        for member_id in [one for one in self._members if one.partition(".")[0] == name]:
            self._forget(member_id)

    def listen(self, provider: SimulatedProvider) -> None:
        self._listeners[provider] = None
        self.tell(provider)

    def ignore(self, provider: SimulatedProvider) -> None:
        self._listeners.pop(provider, None)

    def _heard(self, member: Member) -> None:
        is_new = member.id not in self._members
        now = self.timeline.now
        self._members[member.id] = (member, now)
        self.timeline.after(self.expiry_s, lambda: self._expire(member.id, now))
        if is_new:
            self._report()

    def _expire(self, member_id: str, heard_at: float) -> None:
        known = self._members.get(member_id)
        if known is not None and known[1] <= heard_at:
            self._forget(member_id)

    def _forget(self, member_id: str) -> None:
        if self._members.pop(member_id, None) is not None:
            self._report()

    def _report(self) -> None:
        self.version += 1
        for provider in self._listeners:
            self.tell(provider)

    def tell(self, provider: SimulatedProvider) -> None:
        """Let a listener have the list."""
        if not self.is_cut_off(provider.process):
            self.timeline.after(self.news_s, lambda: provider.told(self.version, self.members))


class SimulatedProvider:
    """One member's or client's side of a `SimulatedRegistry`."""

    def __init__(self, registry: SimulatedRegistry, process: Process) -> None:
        self.process = process
        self._registry = registry
        self._services: ClusterServices | None = None
        self._version = -1
        self._beating: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None

    def told(self, version: int, members: tuple[Member, ...]) -> None:
        """From the registry: this is the list now."""
        if not self.process.has_crashed:
            self.process.loop.call_soon(self._report, version, members)

    async def start(self, services: ClusterServices) -> None:
        loop = asyncio.get_running_loop()
        self._services = services
        self.process.on_crash.append(lambda _: self._registry.ignore(self))
        self._version = -1
        self._first = loop.create_future()
        if not services.is_client:
            self._registry.beat(self.process, services.member)
        self._beating = loop.create_task(self._beat(services), name="simulated heartbeats")
        await asyncio.sleep(2 * self._registry.news_s)
        self._registry.listen(self)
        await asyncio.wait((self._first,), timeout=self._registry.expiry_s)

    async def stop(self, *, graceful: bool) -> None:
        services, self._services = self._services, None
        if services is None:
            return
        self._registry.ignore(self)
        if self._beating is not None:
            self._beating.cancel()
        if graceful and not services.is_client:
            self._registry.remove(self.process, services.member)

    def _report(self, version: int, members: tuple[Member, ...]) -> None:
        if self._services is not None and version > self._version:
            self._version = version
            self._services.members_seen(members)
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    async def _beat(self, services: ClusterServices) -> None:
        """Heartbeats, and a look at the list now and then for those whose news got lost."""
        while True:
            await asyncio.sleep(self._registry.beat_interval_s)
            if not services.is_client:
                self._registry.beat(self.process, services.member)
            if self._registry.version != self._version:
                self._registry.tell(self)
