"""Hundreds of members in one thread and no time: the machines of real members over a simulated network.

    world = SimulatedMembers(100, seed=7)
    world.run(5.0)
    world.freeze(world.members[3])
    world.run_until(lambda: all(len(m.view) == 99 for m in world.up() if m is not world.members[3]), 6.0)

What decides is the product's own `Membership`; what is simulated is the network (delay, loss, cuts in one direction
or both), the processes (killed, frozen, blocked, joining again) and the provider (whole, partial, empty, stale or
hanging lists). Events happen in the order of their time, then of their making, so that one seed replays one run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Final

from dbgrains.config import ClusterConfig
from dbgrains.sansio.failure_detector import Contact
from dbgrains.sansio.heartbeat import GossipKeys, MemberHeartbeat, MemberState
from dbgrains.sansio.identity import ulid
from dbgrains.sansio.membership import Membership
from dbgrains.sansio.membership_messages import (
    Ask,
    AskOthers,
    BlockChanged,
    GossipReply,
    GossipRequest,
    Lost,
    Step,
    Tell,
    ViewChanged,
)
from dbgrains.sansio.topology import Member, Topology
from dbgrains.testing.member_network import MemberNetwork
from dbgrains.testing.simulated_process import SimulatedMember

REJOIN_S: Final = 0.2
LIST_INTERVAL_S: Final = 0.75
WALL_START_S: Final = 1_700_000_000.0
LOOK_INTERVAL_S: Final = 0.02
"""How often a condition that is waited for is looked at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Somebody blocked somebody, or heard of it."""

    at_s: float
    where: str
    member_id: str
    by: str


class SimulatedMembers:
    """A cluster of simulated members, their network and their provider."""

    def __init__(
        self,
        size: int,
        *,
        seed: int,
        config: ClusterConfig | None = None,
        joined: bool = True,
        through_wire: bool = False,
    ) -> None:
        """`joined`: all of them are known to the provider from the start. `through_wire`: each message is encoded and
        decoded as between processes, which is slower.
        """
        self.now = 0.0
        self.config = config or ClusterConfig.for_lan()
        self.random = random.Random(seed)
        self.members: list[SimulatedMember] = []
        self.registered: dict[str, Member] = {}
        """The truth that the provider would tell."""
        self.verdicts: list[Verdict] = []
        self.views: list[tuple[float, int, Topology]] = []
        self.network = MemberNetwork(self.random, self.later, through_wire=through_wire)
        self.rejoins = True
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        for _ in range(size):
            process = self.add(joined=False)
            if joined:
                self.registered[process.id] = process.member
        self._report()

    # --- the world ----------------------------------------------------------------------------------------

    def add(self, *, joined: bool = True, address: str | None = None) -> SimulatedMember:
        """One process more."""
        number = len(self.members)
        member = self._incarnation(number, address or f"10.0.0.{number}:1")
        process = SimulatedMember(number, member.address, self._machine(member), member)
        self.members.append(process)
        self.network.bind(process)
        self._start(process, joined=joined)
        return process

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, condition: Callable[[], object], seconds: float) -> float | None:
        """Let time pass until `condition` holds, and say how much; None when it did not within `seconds`."""
        begin, end = self.now, self.now + seconds
        look_at = begin
        while self._events and self._events[0][0] <= end:
            at = self._events[0][0]
            if at > look_at:
                if condition():
                    return self.now - begin
                look_at = at + LOOK_INTERVAL_S
            self.now, _, happens = heapq.heappop(self._events)
            happens()
        self.now = end
        return seconds if condition() else None

    def up(self) -> list[SimulatedMember]:
        """The processes that run."""
        return [process for process in self.members if process.is_up]

    def agree(self, among: Iterable[SimulatedMember] | None = None) -> bool:
        """Whether all who run (or those `among`) see exactly each other."""
        these = list(self.up() if among is None else among)
        expected = {process.id for process in these}
        return all({m.id for m in process.view.members} == expected for process in these)

    def topology_consensus(self) -> bool:
        """Whether each member that runs knows that all of them see the same topology as itself."""
        these = self.up()
        for process in these:
            view = process.view
            if len(view) != len(these):
                return False
            for other in these:
                if process.machine.said(other.id, GossipKeys.TOPOLOGY) != view.hash:
                    return False
        return True

    # --- faults -------------------------------------------------------------------------------------------

    def kill(self, process: SimulatedMember, *, refuses: bool = True) -> None:
        """The process ends between two instructions; its port refuses, or nothing answers there."""
        process.is_up = False
        process.answers_refusal = refuses
        process.waiting.clear()
        process.frozen = False

    def restart(self, process: SimulatedMember) -> None:
        """A new process at the address of one that ended; the provider learns of it."""
        self._become(process)

    def freeze(self, process: SimulatedMember) -> None:
        """SIGSTOP, or a blocked event loop: connections stay, nothing moves."""
        process.frozen = True

    def resume(self, process: SimulatedMember) -> None:
        """It goes on with what waited."""
        process.frozen = False
        while process.waiting and not process.frozen:
            process.waiting.popleft()()

    def leave(self, process: SimulatedMember) -> None:
        """It announces that it leaves, and does."""
        machine = process.machine
        self._do(process, machine.pulse(MemberHeartbeat(process.member, MemberState.LEAVING), self.now))
        self._do(process, machine.greetings())
        self._do(process, machine.register(None, self.now))
        self.registered.pop(process.id, None)
        self._report()
        self.later(2 * self.config.gossip.interval_s, lambda: self.kill(process))

    def cut(self, one: SimulatedMember, other: SimulatedMember, *, both: bool = True) -> None:
        """Nothing gets from `one` to `other` (nor back, if `both`)."""
        self.network.cut(one, other)
        if both:
            self.network.cut(other, one)

    def split(self, one: Iterable[SimulatedMember], other: Iterable[SimulatedMember]) -> None:
        """Cut two groups off from each other."""
        other = list(other)
        for a in one:
            for b in other:
                self.cut(a, b)

    def heal(self) -> None:
        """Undo all cuts."""
        self.network.heal()

    def later(self, delay_s: float, happens: Callable[[], None]) -> None:
        """Let something happen in a while."""
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), happens))

    # --- processes ----------------------------------------------------------------------------------------

    def _incarnation(self, number: int, address: str) -> Member:
        made = int(self.now * 1000) + 1
        return Member(f"m{number}.{ulid(made, self.random.getrandbits(80))}", address, frozenset({"k"}))

    def _machine(self, member: Member) -> Membership:
        return Membership("sim", member.id, self.config, draw=self.random.randrange, size_of=_size_of)

    def _start(self, process: SimulatedMember, *, joined: bool = True) -> None:
        machine, member = process.machine, process.member
        process.is_up = True
        self._do(process, machine.pulse(MemberHeartbeat(member, MemberState.ACTIVE), self.now))
        self._do(process, machine.register(member, self.now))
        if joined:
            self.registered[member.id] = member
            self._report()
        self.later(self.random.random() * self.config.gossip.interval_s, lambda: self._tick(process, machine))
        self.later(self.random.random() * LIST_INTERVAL_S, lambda: self._poll(process, machine))
        self.later(self.config.gossip.heartbeat_interval_s, lambda: self._pulse(process, machine))

    def _become(self, process: SimulatedMember) -> None:
        """Another incarnation at the same address."""
        self.registered.pop(process.id, None)
        process.member = self._incarnation(process.number, process.address)
        process.machine = self._machine(process.member)
        self.network.bind(process)
        self._start(process)

    def _tick(self, process: SimulatedMember, machine: Membership) -> None:
        process.in_turn(machine, lambda: self._ticked(process, machine))

    def _ticked(self, process: SimulatedMember, machine: Membership) -> None:
        self._do(process, machine.tick(self.now, self._wall(process)))
        self.later(self.config.gossip.interval_s, lambda: self._tick(process, machine))

    def _pulse(self, process: SimulatedMember, machine: Membership) -> None:
        def beat() -> None:
            self._do(process, machine.pulse(MemberHeartbeat(process.member, MemberState.ACTIVE), self.now))
            self.later(self.config.gossip.heartbeat_interval_s, lambda: self._pulse(process, machine))

        process.in_turn(machine, beat)

    def _poll(self, process: SimulatedMember, machine: Membership) -> None:
        def poll() -> None:
            self._list(process)
            self.later(LIST_INTERVAL_S, lambda: self._poll(process, machine))

        process.in_turn(machine, poll)

    def _report(self) -> None:
        for process in self.members:
            if process.is_up and not process.frozen:
                self._list(process)

    def _list(self, process: SimulatedMember) -> None:
        if not process.list_hangs:
            listed = tuple(self.registered.values()) if process.listed is None else process.listed
            self._do(process, process.machine.listed(listed, self.now))

    def _wall(self, process: SimulatedMember) -> float:
        return WALL_START_S + self.now + process.wall_offset_s

    # --- what their machines want -------------------------------------------------------------------------

    def _do(self, process: SimulatedMember, steps: list[Step]) -> None:
        machine = process.machine
        for step in steps:
            match step:
                case Ask():
                    self._ask(process, machine, step)
                case Tell():
                    self._tell(process, step)
                case AskOthers():
                    self._ask_others(process, machine, step)
                case BlockChanged(member_id, entry):
                    if entry.blocked:
                        self.verdicts.append(Verdict(self.now, process.id, member_id, entry.by))
                case ViewChanged(topology):
                    self.views.append((self.now, process.number, topology))
                case Lost(reason):
                    if process.machine is machine:
                        process.lost.append(reason)
                        process.is_up = False
                        self.registered.pop(process.id, None)
                        if self.rejoins:
                            self.later(REJOIN_S, lambda: self._become(process))
                    return

    def _tell(self, process: SimulatedMember, tell: Tell) -> None:
        def arrive(target: SimulatedMember) -> None:
            self._take(process, target, tell.request)

        self.network.send(process, tell.member, tell.request, arrive, None)

    def _ask(self, process: SimulatedMember, machine: Membership, ask: Ask) -> None:
        over = False

        def end(happens: Callable[[], list[Step]]) -> None:
            nonlocal over
            if not over:
                over = True
                process.in_turn(machine, lambda: self._do(process, happens()))

        def arrive(target: SimulatedMember) -> None:
            reply = self.network.reply_as_received(target, process, self._take(process, target, ask.request))
            self.network.back(target, process, lambda: end(lambda: machine.answered(ask, reply(), self.now)))

        self.network.send(process, ask.member, ask.request, arrive, lambda: end(refused))

        def refused() -> list[Step]:
            return machine.failed(ask.member, Contact.REFUSED, self.now)

        def silent() -> list[Step]:
            return machine.failed(ask.member, Contact.SILENT, self.now)

        self.later(ask.timeout_s, lambda: end(silent))

    def _ask_others(self, process: SimulatedMember, machine: Membership, step: AskOthers) -> None:
        said: dict[str, Contact] = {}

        def helped(helper: SimulatedMember) -> None:
            over = False
            helping = helper.machine

            def end(contact: Contact) -> None:
                nonlocal over
                if not over:
                    over = True
                    self._do(helper, helping.tried(step.target, contact, self.now))
                    self.network.back(helper, process, lambda: said.setdefault(helper.id, contact))

            ping = GossipRequest("sim", helper.id)

            def reached(target: SimulatedMember) -> None:
                if not self._take(helper, target, ping).refused:
                    self.network.back(target, helper, lambda: end(Contact.ANSWERED))

            self.network.send(helper, step.target, ping, reached, lambda: end(Contact.REFUSED))
            self.later(step.timeout_s, lambda: end(Contact.SILENT))

        for helper in step.helpers:
            self.network.send(process, helper, None, helped, None)

        def over() -> None:
            contacts = [said.get(helper.id) for helper in step.helpers]
            process.in_turn(machine, lambda: self._do(process, machine.others_tried(step.target, contacts, self.now)))

        self.later(2 * step.timeout_s, over)

    def _take(self, sender: SimulatedMember, target: SimulatedMember, request: GossipRequest) -> GossipReply:
        reply, steps = target.machine.asked(self.network.as_received(sender, target, request), self.now)
        self._do(target, steps)
        return reply

    def __repr__(self) -> str:
        return f"SimulatedMembers({len(self.up())} of {len(self.members)} up, at {self.now:.3f} s)"


def _size_of(value: object) -> int:
    return 100
