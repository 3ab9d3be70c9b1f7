"""Membership: one member's part in gossip and in watching the others, as a machine without I/O.

Inputs are the provider's list, questions and answers of others, and ticks; each returns the steps to take, in order.
Time and chance are arguments: the same inputs give the same steps. So what runs between processes is what runs, by the
hundred and in no time, in the simulation.

One exchange does three things: it brings each side what it lacks (the request carries a digest, the answer the
missing entries and what is wanted in turn), it tells that the other one lives, and it spreads heartbeats that tell the
same to third parties. So there are no probes beside the gossip, except those that others make on request.

    tick       →  Ask ... of the members whose turn it is, and of those that missed
    answered   →  Learned, Tell what was wanted
    failed     →  AskOthers to try
    others_tried → suspicion, said aloud; Learned suspicions of others are votes
    tick       →  BlockChanged when the jury is complete and the time is up

A client is a membership without a member: it asks, says nothing, and judges nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from dbgrains.config import ClusterConfig
from dbgrains.sansio import block_entries, failure_detector
from dbgrains.sansio.block_book import BlockBook, Changes
from dbgrains.sansio.block_entries import BlockEntry
from dbgrains.sansio.failure_detector import Contact, Health, Jury, Standing, Watched
from dbgrains.sansio.gossip_book import GossipBook
from dbgrains.sansio.gossip_state import News, State, Update
from dbgrains.sansio.heartbeat import GossipKeys, MemberHeartbeat
from dbgrains.sansio.member_view import birth_of, members_of
from dbgrains.sansio.membership_messages import (
    Ask,
    AskOthers,
    BlockChanged,
    GossipReply,
    GossipRequest,
    Learned,
    Lost,
    Step,
    SuspicionChanged,
    Tell,
    ViewChanged,
)
from dbgrains.sansio.topology import Member, Topology

FORGOTTEN_MAX: Final = 10_000
"""Members that are gone and whose late news are recognized as such; the oldest go first."""

CLIENT_FANOUT: Final = 1


class Membership:
    """What one process knows of the members, and what it does about it."""

    def __init__(
        self,
        cluster: str,
        my_id: str,
        config: ClusterConfig,
        *,
        draw: Callable[[int], int],
        size_of: Callable[[object], int],
        is_client: bool = False,
    ) -> None:
        """`draw(n)` is a random number below n; `size_of(value)` what a gossiped value weighs in a message."""
        self.cluster = cluster
        self.my_id = my_id
        self.view = Topology()
        self.book = BlockBook()
        self.health = Health()
        self.watched: dict[str, Watched] = {}
        self._config = config
        self._draw = draw
        self._is_client = is_client
        self._me: Member | None = None
        self._incarnation = 0
        self._listed: dict[str, Member] = {}
        self._gossip = GossipBook(my_id, config.gossip, size_of)
        self._heartbeats: dict[str, MemberHeartbeat] = {}
        """The latest of each other member."""
        self._proven: set[str] = set()
        self._forgotten: dict[str, None] = {}
        self._asked: set[str] = set()
        self._trying: set[str] = set()
        self._queue: list[str] = []
        self._ticked_at: float | None = None
        self._steps: list[Step] = []

    @property
    def state(self) -> State:
        """The entries of everybody, as far as they are known here."""
        return self._gossip.state

    # --- this process -------------------------------------------------------------------------------------

    def register(self, me: Member | None, now: float) -> list[Step]:
        """This process is a member from now on; None: not any more."""
        self._me = me
        self._see(now)
        return self._taken()

    def publish(self, values: Mapping[str, object], now: float) -> list[Step]:
        """Write own entries, in order."""
        self._write(values, now)
        return self._taken()

    def pulse(self, heartbeat: MemberHeartbeat, now: float) -> list[Step]:
        """Publish how this member is doing."""
        self._beat(heartbeat, now)
        return self._taken()

    def listed(self, members: Iterable[Member], now: float) -> list[Step]:
        """The provider's list."""
        self._listed = {member.id: member for member in members if member.id != self.my_id}
        self._see(now)
        return self._taken()

    def block(self, member_id: str, reason: str, now: float, wall: float) -> list[Step]:
        """This incarnation is out."""
        self._blocks_changed(self.book.block(member_id, reason, self.my_id, now, wall), now)
        return self._taken()

    def clear(self, member_id: str, now: float, wall: float) -> list[Step]:
        """Take a block back."""
        self._blocks_changed(self.book.clear(member_id, self.my_id, now, wall), now)
        return self._taken()

    def adopt(self, blocks: block_entries.Blocks, now: float) -> list[Step]:
        """What this process knew of blocks before, as an earlier incarnation."""
        self.book.adopt(blocks, now)
        self._publish_blocks(now)
        return self._taken()

    # --- a round ------------------------------------------------------------------------------------------

    def tick(self, now: float, wall: float) -> list[Step]:
        """One round. Call it every `interval_s`; a call that is late says that this process did not run."""
        self._notice_own_absence(now)
        if self.book.forget(now - self._config.failure_detection.block_expiry_s):
            self._publish_blocks(now)
        self._judge(now, wall)
        if self._heartbeats.keys() - self._listed.keys():
            self._see(now)  # who is not listed is a member only while it is heard of
        self._forget_old(now)
        self._ask_some(now)
        return self._taken()

    def _notice_own_absence(self, now: float) -> None:
        before, self._ticked_at = self._ticked_at, now
        if before is None:
            return
        gap_s = now - before - self._config.gossip.interval_s
        if gap_s > self._config.failure_detection.loop_lag_s:
            self.health = self.health.worse()
            self.watched = {id_: failure_detector.slept(known, gap_s) for id_, known in self.watched.items()}
        else:
            self.health = self.health.better()

    def _ask_some(self, now: float) -> None:
        """Those that missed or fell silent, and the next ones of a shuffled round-robin."""
        config = self._config
        fanout = CLIENT_FANOUT if self._is_client else config.gossip.fanout
        detection = config.failure_detection
        doubtful = [
            id_
            for id_, known in self.watched.items()
            if id_ in self.view and id_ not in self._asked and failure_detector.needs_probe(known, now, detection)
        ]
        chosen = self._shuffled(doubtful)[:fanout]
        while fanout > 0:
            if not self._queue:
                self._queue = self._shuffled([m.id for m in self.view.members if m.id != self.my_id])
                if not self._queue:
                    break
            id_ = self._queue.pop()
            fanout -= 1
            if id_ in self.view and id_ not in self._asked and id_ not in chosen:
                chosen.append(id_)
        timeout_s = detection.probe_timeout_s * self.health.patience
        for id_ in chosen:
            member = self.view.get(id_)
            if member is not None:
                self._asked.add(id_)
                request = GossipRequest(self.cluster, self.my_id, *self._gossip.question(id_))
                self._steps.append(Ask(member, request, timeout_s))

    def greetings(self) -> list[Step]:
        """Own entries to everybody at once: for news that must not wait for its round, such as a farewell."""
        news = self._gossip.own_news()
        if not news:
            return []
        greeting = GossipRequest(self.cluster, self.my_id, news)
        return [Tell(member, greeting) for member in self.view.members if member.id != self.my_id]

    def said(self, member_id: str, key: str) -> object:
        """The latest that a member said under a key; None when nothing is known."""
        return self._gossip.said(member_id, key)

    def heartbeat_of(self, member_id: str) -> MemberHeartbeat | None:
        """The latest of a member, or the own one."""
        said = self._gossip.said(member_id, GossipKeys.HEARTBEAT)
        return said if isinstance(said, MemberHeartbeat) else None

    def loads(self, kind: str) -> dict[str, int]:
        """Member id → activations of `kind` there, as the latest heartbeats tell."""
        beats = dict(self._heartbeats)
        if (own := self.heartbeat_of(self.my_id)) is not None:
            beats[self.my_id] = own
        return {id_: beat.actor_statistics.actor_count.get(kind, 0) for id_, beat in beats.items()}

    # --- questions and answers ----------------------------------------------------------------------------

    def asked(self, request: GossipRequest, now: float) -> tuple[GossipReply, list[Step]]:
        """Somebody gossips with this member."""
        sender = request.sender
        if request.cluster != self.cluster:
            reason = f"{self.my_id} is of cluster {self.cluster!r}, {sender} is of {request.cluster!r}"
            return GossipReply(refused=reason), []
        if sender in self.book.ids:
            return GossipReply(refused=_why(sender, self.book.blocks[sender]), blocked=True), []
        self._forgotten.pop(sender, None)
        self._learn(request.news, now)
        self._hear(sender, now)
        reply = GossipReply()
        if request.digest is not None:
            reply = GossipReply(*self._gossip.answer(request.digest))
        return reply, self._taken()

    def answered(self, request: Ask, reply: GossipReply, now: float) -> list[Step]:
        """The answer to an `Ask`."""
        id_ = request.member.id
        self._asked.discard(id_)
        if reply.blocked:
            self._steps.append(Lost(reply.refused))
            return self._taken()
        self._forgotten.pop(id_, None)
        self._hear(id_, now)
        if reply.refused:
            return self._taken()
        self._gossip.taken(id_, request.request.news)
        self._learn(reply.news, now)
        if news := self._gossip.wanted_by(id_, reply.wanted):
            self._steps.append(Tell(request.member, GossipRequest(self.cluster, self.my_id, news)))
        return self._taken()

    def failed(self, member: Member, contact: Contact, now: float) -> list[Step]:
        """An `Ask` brought no answer."""
        id_ = member.id
        self._asked.discard(id_)
        known = self.watched.get(id_)
        if known is None or id_ not in self.view or id_ == self.my_id:
            return self._taken()
        self._gossip.not_taken(id_)
        self.watched[id_] = failure_detector.missed(known, now, contact)
        if self._is_client or known.suspected_at is not None or id_ in self._trying:
            return self._taken()
        helpers = self._helpers(id_)
        if helpers:
            detection = self._config.failure_detection
            self._trying.add(id_)
            self._steps.append(AskOthers(member, helpers, detection.probe_timeout_s * self.health.patience))
        else:
            self._suspect(id_, now)
        return self._taken()

    def others_tried(self, target: Member, contacts: Sequence[Contact | None], now: float) -> list[Step]:
        """What the helpers found; None for one that did not say in time."""
        id_ = target.id
        self._trying.discard(id_)
        if Contact.ANSWERED in contacts:
            # Others reach it and we do not: that may be us.
            self.health = self.health.worse()
            self._hear(id_, now)
        else:
            if None in contacts:
                self.health = self.health.worse()
            self._suspect(id_, now)
        return self._taken()

    def tried(self, target: Member, contact: Contact, now: float) -> list[Step]:
        """How an attempt went that this member made for another one."""
        if contact is Contact.ANSWERED:
            self._hear(target.id, now)
        return self._taken()

    # --- what is known of one member ----------------------------------------------------------------------

    def _hear(self, id_: str, now: float, incarnation: int = 0, *, proves: bool = True) -> None:
        known = self.watched.get(id_)
        if known is not None:
            self.watched[id_] = failure_detector.heard(known, now, incarnation)
            if known.suspected_at is not None:
                self._suspicions_changed(id_, now, suspected=False)
        elif id_ in self.state or id_ in self._listed:
            self.watched[id_] = Watched(now, incarnation)
        else:
            return  # a client
        if proves:
            self._proven.add(id_)

    def _suspect(self, id_: str, now: float) -> None:
        known = self.watched.get(id_)
        if known is None or id_ not in self.view:
            return
        self.watched[id_] = failure_detector.unreached(known, now)
        if known.suspected_at is None and self.watched[id_].suspected_at is not None:
            self._suspicions_changed(id_, now, suspected=True)

    def _suspicions_changed(self, id_: str, now: float, *, suspected: bool) -> None:
        self._steps.append(SuspicionChanged(id_, suspected))
        self._publish_suspicions(now)

    def _publish_suspicions(self, now: float) -> None:
        if self._is_client:
            return
        suspects = {
            id_: known.incarnation for id_, known in self.watched.items() if known.suspected_at is not None
        }  # fmt: skip
        if suspects != self._gossip.said(self.my_id, GossipKeys.SUSPECTS, {}):
            self._write({GossipKeys.SUSPECTS: suspects}, now)

    def _judge(self, now: float, wall: float) -> None:
        """Give up those whose time is over. A client judges nobody, and who leaves does not either."""
        if self._me is None:
            return
        detection = self._config.failure_detection
        spread_s = self._spread_s()
        for id_, known in list(self.watched.items()):
            if known.suspected_at is None or id_ not in self.view:
                continue
            jury = self._jury(id_, known)
            if failure_detector.standing(known, now, jury, self.health, spread_s, detection) is Standing.DEAD:
                how = "its port refuses connections" if known.refused_at is not None else "it does not answer"
                silent_s = now - known.heard_at
                reason = f"{how}, silent for {silent_s:.1f} s, {jury.voters} members agree"
                self._blocks_changed(self.book.block(id_, reason, self.my_id, now, wall), now)

    def _jury(self, id_: str, known: Watched) -> Jury:
        others = [m.id for m in self.view.members if m.id != id_]
        voters = sum(1 for other in others if other != self.my_id and self._votes(other, id_, known.incarnation))
        reached = [m.id for m in self.view.members if m.id == self.my_id or self._reaches(m.id)]
        count = len(self.view)
        majority = 2 * len(reached) > count
        if 2 * len(reached) == count:
            majority = min([member.id for member in self.view.members], key=birth_of) in reached
        return Jury(1 + voters, len(others), majority)

    def _votes(self, voter: str, id_: str, incarnation: int) -> bool:
        if not self._reaches(voter):
            return False
        suspects = self._gossip.said(voter, GossipKeys.SUSPECTS, {})
        return isinstance(suspects, Mapping) and suspects.get(id_, -1) >= incarnation

    def _reaches(self, id_: str) -> bool:
        known = self.watched.get(id_)
        return known is not None and known.missed_at is None

    def _helpers(self, id_: str) -> tuple[Member, ...]:
        able = [m.id for m in self.view.members if m.id not in (id_, self.my_id) and self._reaches(m.id)]
        chosen = self._shuffled(able)[: self._config.failure_detection.indirect_count]
        return tuple(member for helper in chosen if (member := self.view.get(helper)) is not None)

    def _spread_s(self) -> float:
        gossip = self._config.gossip
        return gossip.interval_s * (1 + math.ceil(math.log(max(1, len(self.view)), 1 + gossip.fanout)))

    # --- news ---------------------------------------------------------------------------------------------

    def _learn(self, news: Iterable[News], now: float) -> None:
        welcome = [
            item
            for item in news
            if item.owner != self.my_id and item.owner not in self._forgotten and item.owner not in self.book.ids
        ]
        changes = False
        for update in self._gossip.merge(welcome, now):
            self._steps.append(Learned(update))
            match update.key:
                case GossipKeys.HEARTBEAT:
                    changes |= self._heartbeat(update, now)
                case GossipKeys.SUSPECTS:
                    self._contradict(update.entry.value, now)
                case GossipKeys.BLOCKED:
                    self._blocks_changed(self.book.hear(update.entry.value, now), now)
        if changes:
            self._see(now)

    def _heartbeat(self, update: Update, now: float) -> bool:
        """Whether it may change who the members are."""
        heartbeat = update.entry.value
        if not isinstance(heartbeat, MemberHeartbeat) or heartbeat.member.id != update.owner:
            return False
        proves = update.owner in self._heartbeats
        self._heartbeats[update.owner] = heartbeat
        self._hear(update.owner, now, heartbeat.incarnation, proves=proves)
        return not heartbeat.state.hosts or self.view.get(update.owner) != heartbeat.member

    def _contradict(self, suspects: object, now: float) -> None:
        """Somebody suspects this member: raise the incarnation, and say so."""
        if self._is_client or not isinstance(suspects, Mapping) or suspects.get(self.my_id, -1) < self._incarnation:
            return
        self._incarnation = suspects[self.my_id] + 1
        self.health = self.health.worse()
        if (heartbeat := self.heartbeat_of(self.my_id)) is not None:
            self._beat(heartbeat, now)

    def _blocks_changed(self, changes: Changes, now: float) -> None:
        if not changes:
            return
        for id_, entry in changes:
            self._steps.append(BlockChanged(id_, entry))
            if entry.blocked and id_ == self.my_id:
                self._steps.append(Lost(_why(id_, entry)))
            elif entry.blocked:
                if id_ in self.state:
                    self._forget(id_)
                self.watched.pop(id_, None)
        self._publish_suspicions(now)
        self._publish_blocks(now)
        self._see(now)

    def _publish_blocks(self, now: float) -> None:
        if not self._is_client:
            self._write({GossipKeys.BLOCKED: block_entries.gossiped(self.book.blocks)}, now)

    # --- the view -----------------------------------------------------------------------------------------

    def _see(self, now: float) -> None:
        """Look at everything again; say what changed."""
        for id_ in self._listed:
            if id_ not in self.watched and id_ not in self.book.ids:
                self.watched[id_] = Watched(now)
        members = members_of(
            self._me, self._listed, self._heartbeats.values(), self.watched, self._proven, self.book.ids,
            now=now, list_grace_s=self._config.failure_detection.list_grace_s,
        )  # fmt: skip
        if len(members) == len(self.view) and all(self.view.get(member.id) == member for member in members):
            return
        view = self.view = Topology(members)
        self._steps.append(ViewChanged(view))
        for id_ in [id_ for id_ in self.watched if id_ not in view and id_ not in self.state]:
            del self.watched[id_]
        if self._me is not None:
            self._write({GossipKeys.TOPOLOGY: view.hash}, now)
            self._publish_suspicions(now)

    def _forget_old(self, now: float) -> None:
        horizon = now - self._config.gossip.forget_after_s
        for id_ in [id_ for id_ in self.state if id_ != self.my_id and id_ not in self.view]:
            known = self.watched.get(id_)
            if known is None or known.heard_at < horizon:
                self._forget(id_)

    def _forget(self, id_: str) -> None:
        self._gossip.forget(id_)
        self._heartbeats.pop(id_, None)
        self.watched.pop(id_, None)
        self._proven.discard(id_)
        self._forgotten[id_] = None
        while len(self._forgotten) > FORGOTTEN_MAX:
            del self._forgotten[next(iter(self._forgotten))]

    # --- common -------------------------------------------------------------------------------------------

    def _beat(self, heartbeat: MemberHeartbeat, now: float) -> None:
        self._write({GossipKeys.HEARTBEAT: replace(heartbeat, incarnation=self._incarnation, encoded=b"")}, now)

    def _write(self, values: Mapping[str, object], now: float) -> None:
        self._steps += [Learned(update) for update in self._gossip.write(values, now)]

    def _shuffled(self, items: list[str]) -> list[str]:
        for last in range(len(items) - 1, 0, -1):
            other = self._draw(last + 1)
            items[last], items[other] = items[other], items[last]
        return items

    def _taken(self) -> list[Step]:
        steps, self._steps = self._steps, []
        return steps

    def __repr__(self) -> str:
        return f"Membership({self.my_id} of {self.cluster!r}, {len(self.view)} members, {self.health})"


def _why(member_id: str, entry: BlockEntry) -> str:
    return f"{member_id} was blocked by {entry.by}: {entry.reason}"
