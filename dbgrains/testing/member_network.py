"""The network between simulated members: delay, loss, and cuts in one direction or both."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Final

from dbgrains.cluster import gossip_codec
from dbgrains.sansio.membership_messages import GossipReply, GossipRequest
from dbgrains.sansio.topology import Member
from dbgrains.testing.simulated_process import SimulatedMember
from dbgrains.wire import gossip_pb2 as wire

DELAY_S: Final = 0.0005
REFUSAL_S: Final = 0.001


class MemberNetwork:
    """Who is where, what gets from one to the other, and what each has sent.

    `later(delay_s, happens)` lets something happen in a while. `through_wire`: each message is encoded and decoded.
    """

    def __init__(
        self, random: random.Random, later: Callable[[float, Callable[[], None]], None], *, through_wire: bool
    ) -> None:
        self.loss = 0.0
        """Share of messages that vanish."""
        self._random = random
        self._later = later
        self._through_wire = through_wire
        self._cut: set[tuple[int, int]] = set()
        self._by_address: dict[str, SimulatedMember] = {}

    def bind(self, process: SimulatedMember) -> None:
        """Its address leads to this process from now on."""
        self._by_address[process.address] = process

    def cut(self, one: SimulatedMember, other: SimulatedMember) -> None:
        """Nothing gets from `one` to `other`."""
        self._cut.add((one.number, other.number))

    def heal(self) -> None:
        """Undo all cuts."""
        self._cut.clear()

    def send(
        self,
        process: SimulatedMember,
        member: Member,
        request: GossipRequest | None,
        arrives: Callable[[SimulatedMember], None],
        refused: Callable[[], None] | None,
    ) -> None:
        """Carry a request, or only the wish to be helped, to where `member` should be."""
        if request is not None:
            self._count(process, request.news, 0 if request.digest is None else len(request.digest.hashes))
        target = self._by_address.get(member.address)
        if target is None or (process.number, target.number) in self._cut:
            return
        if not target.is_up or target.id != member.id:
            if refused is not None and target.answers_refusal and (target.number, process.number) not in self._cut:
                self._later(REFUSAL_S, refused)
            return
        if self._random.random() < self.loss:
            return
        incarnation = target.machine
        self._later(self._delay_s(), lambda: target.in_turn(incarnation, lambda: arrives(target)))

    def back(self, process: SimulatedMember, to: SimulatedMember, happens: Callable[[], object]) -> None:
        """Carry an answer."""
        if (process.number, to.number) in self._cut or self._random.random() < self.loss:
            return
        incarnation = to.machine
        self._later(self._delay_s(), lambda: to.in_turn(incarnation, happens))

    def as_received(self, process: SimulatedMember, to: SimulatedMember, request: GossipRequest) -> GossipRequest:
        """What the process asks, as who is asked reads it."""
        if not self._through_wire:
            return request
        data = gossip_codec.request_to_wire(request).SerializeToString()
        process.traffic.bytes += len(data)
        return gossip_codec.request_from_wire(wire.GossipRequest.FromString(data), to.machine.state)

    def reply_as_received(
        self, process: SimulatedMember, to: SimulatedMember, reply: GossipReply
    ) -> Callable[[], GossipReply]:
        """What the process answered, as who asked reads it when it has come."""
        self._count(process, reply.news, len(reply.wanted))
        if not self._through_wire:
            return lambda: reply
        data = gossip_codec.reply_to_wire(reply).SerializeToString()
        process.traffic.bytes += len(data)
        return lambda: gossip_codec.reply_from_wire(wire.GossipReply.FromString(data), to.machine.state)

    def _delay_s(self) -> float:
        return DELAY_S * (0.5 + self._random.random())

    def _count(self, process: SimulatedMember, news: Iterable[object], versions: int) -> None:
        traffic = process.traffic
        traffic.messages += 1
        traffic.states += len(tuple(news))
        traffic.digests += versions

    def __repr__(self) -> str:
        return f"MemberNetwork({len(self._by_address)} addresses, {len(self._cut)} cuts, loss {self.loss:g})"
