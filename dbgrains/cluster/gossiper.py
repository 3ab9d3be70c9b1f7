"""Gossiper: lets a `Membership` run. It brings ticks, lists and messages to it, and does the steps it returns.

Members are asked over the system lane, which has a connection of its own: data never delays it, and neither does a
peer that is being connected to. An exchange costs no task: the answer comes back into the step that reads the stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.cluster import gossip_codec
from dbgrains.errors import DbgrainsError, MessageError, NotHereError, UnreachableError
from dbgrains.remote.handshake import Lane
from dbgrains.sansio.failure_detector import Contact
from dbgrains.sansio.gossip_state import Update
from dbgrains.sansio.heartbeat import MemberHeartbeat, MemberState
from dbgrains.sansio.membership import Membership
from dbgrains.sansio.membership_messages import (
    Ask,
    AskOthers,
    BlockChanged,
    GossipReply,
    GossipRequest,
    Learned,
    Lost,
    ProbeReply,
    ProbeRequest,
    Step,
    SuspicionChanged,
    Tell,
    ViewChanged,
)
from dbgrains.wire import gossip_pb2 as wire

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem
    from dbgrains.config import ClusterConfig
    from dbgrains.remote.remote import Remote
    from dbgrains.sansio.block_entries import BlockEntry, Blocks
    from dbgrains.sansio.topology import Member, Topology

GOSSIP_ID: Final = "$gossip"
"""Id of the process that others gossip with."""

HELPS_MAX: Final = 64
"""Attempts that are made for others at a time; more are not answered, and count as no help."""

log = structlog.get_logger()


class Audience(Protocol):
    """Who wants to know what a gossiper finds out."""

    def view_changed(self, topology: Topology) -> None: ...

    def learned(self, update: Update) -> None: ...

    def suspicion_changed(self, member_id: str, *, suspected: bool) -> None: ...

    def block_changed(self, member_id: str, entry: BlockEntry) -> None: ...

    def blocked_by_others(self, reason: str) -> None: ...


class Gossiper(Process):
    """One incarnation's voice and ear among the members."""

    def __init__(
        self,
        cluster: str,
        my_id: str,
        system: ActorSystem,
        config: ClusterConfig,
        remote: Remote | None,
        audience: Audience,
        *,
        is_client: bool,
        heartbeat: Callable[[], MemberHeartbeat],
    ) -> None:
        """`heartbeat` tells how this member is doing; asked once per `heartbeat_interval_s`."""
        self._system = system
        self._config = config
        self._remote = remote
        self._audience = audience
        self.is_client = is_client
        self._heartbeat = heartbeat
        self.machine = Membership(
            cluster, my_id, config, draw=system.random.randrange, size_of=gossip_codec.size_of, is_client=is_client
        )
        self._helping = 0
        self._steps: deque[Step] = deque()
        self._acting = False
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    # --- its life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to listen, and to speak."""
        if not self.is_client:
            self._system.registry.add(GOSSIP_ID, self)
            self.beat()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="dbgrains gossip")

    @property
    def is_running(self) -> bool:
        return self._task is not None

    def beat(self) -> None:
        """Publish how this member is doing now."""
        self._do(self.machine.pulse(self._heartbeat(), self._now()))

    def farewell(self) -> None:
        """Tell everybody at once how this member is doing: for the last words of one that leaves."""
        self.beat()
        self._do(self.machine.greetings())

    async def stop(self) -> None:
        """Fall silent."""
        self._stopped = True
        if not self.is_client:
            self._system.registry.remove(GOSSIP_ID)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        interval_s = self._config.gossip.interval_s
        beat_interval_s = self._config.gossip.heartbeat_interval_s
        next_beat = self._now() + beat_interval_s
        while True:
            await asyncio.sleep(interval_s)
            now = self._now()
            try:
                if now >= next_beat and not self.is_client:
                    next_beat = now + beat_interval_s
                    self.beat()
                self._do(self.machine.tick(now, self._system.clock.wall()))
            except Exception as error:  # noqa: BLE001  a defect in one round must not silence a healthy member
                log.error("gossip round failed", member=self._system.id, **failure_fields(error))

    # --- inputs -------------------------------------------------------------------------------------------

    def register(self, me: Member | None) -> None:
        """This process is a member from now on; None: not any more."""
        self._do(self.machine.register(me, self._now()))

    def listed(self, members: Iterable[Member]) -> None:
        """The provider's list."""
        self._do(self.machine.listed(members, self._now()))

    def publish(self, key: str, value: object) -> None:
        """Write an own entry."""
        self._do(self.machine.publish({key: value}, self._now()))

    def said_farewell(self, member_id: str) -> bool:
        """Whether a member told that it leaves, as opposed to one that is lost."""
        beat = self.machine.heartbeat_of(member_id)
        return beat is not None and beat.state in (MemberState.LEAVING, MemberState.LEFT)

    def block(self, member_id: str, reason: str) -> None:
        """This incarnation is out."""
        self._do(self.machine.block(member_id, reason, self._now(), self._system.clock.wall()))

    def clear(self, member_id: str) -> None:
        """Take a block back."""
        self._do(self.machine.clear(member_id, self._now(), self._system.clock.wall()))

    def adopt(self, blocks: Blocks) -> None:
        """What an earlier incarnation of this process knew of blocks."""
        self._do(self.machine.adopt(blocks, self._now()))

    # --- what others ask ----------------------------------------------------------------------------------

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        if self._stopped:
            if isinstance(sender, ReplyTo):
                sender.fail(NotHereError(f"member {self._system.id} does not gossip any more"))
        elif isinstance(message, wire.GossipRequest):
            reply, steps = self.machine.asked(gossip_codec.request_from_wire(message, self.machine.state), self._now())
            if isinstance(sender, ReplyTo):
                sender.reply(gossip_codec.reply_to_wire(reply))
            self._do(steps)
        elif isinstance(message, wire.ProbeRequest) and isinstance(sender, ReplyTo):
            self._help(gossip_codec.probe_from_wire(message), sender)
        elif isinstance(sender, ReplyTo):
            sender.fail(MessageError(f"{GOSSIP_ID} takes no {type(message).__name__}"))

    def post_system(self, message: object) -> None:
        """It lives as long as its member, and is no actor that could be watched."""

    def _help(self, probe: ProbeRequest, sender: ReplyTo) -> None:
        """Try to reach somebody whom `sender` does not reach."""
        if self._helping >= HELPS_MAX or probe.cluster != self.machine.cluster or probe.target.id == self.machine.my_id:
            return
        self._helping += 1

        def done(contact: Contact) -> None:
            self._helping -= 1
            sender.reply(gossip_codec.tried_to_wire(ProbeReply(contact)))
            self._do(self.machine.tried(probe.target, contact, self._now()))

        ping = GossipRequest(self.machine.cluster, self.machine.my_id)
        self._request(
            probe.target,
            gossip_codec.request_to_wire(ping),
            self._timeout_s,
            lambda _: done(Contact.ANSWERED),
            done,
        )

    # --- steps --------------------------------------------------------------------------------------------

    def _do(self, steps: Iterable[Step]) -> None:
        """Take the steps in order. Steps that follow from a step come after those that were there before."""
        self._steps.extend(steps)
        if self._acting:
            return
        self._acting = True
        try:
            while self._steps:
                self._take(self._steps.popleft())
        finally:
            self._acting = False

    def _take(self, step: Step) -> None:
        if self._stopped:
            return
        audience = self._audience
        match step:
            case Learned(update):
                audience.learned(update)
            case Ask():
                self._ask(step)
            case Tell(member, request):
                self._request(member, gossip_codec.request_to_wire(request), self._timeout_s, _nothing, _nothing)
            case AskOthers():
                self._ask_others(step)
            case ViewChanged(topology):
                audience.view_changed(topology)
            case SuspicionChanged(member_id, suspected):
                audience.suspicion_changed(member_id, suspected=suspected)
            case BlockChanged(member_id, entry):
                audience.block_changed(member_id, entry)
            case Lost(reason):
                audience.blocked_by_others(reason)

    @property
    def _timeout_s(self) -> float:
        return self._config.failure_detection.probe_timeout_s

    def _ask(self, ask: Ask) -> None:
        def answered(message: object) -> None:
            reply = GossipReply()
            if isinstance(message, wire.GossipReply):
                reply = gossip_codec.reply_from_wire(message, self.machine.state)
            self._do(self.machine.answered(ask, reply, self._now()))

        def failed(contact: Contact) -> None:
            self._do(self.machine.failed(ask.member, contact, self._now()))

        self._request(ask.member, gossip_codec.request_to_wire(ask.request), ask.timeout_s, answered, failed)

    def _ask_others(self, step: AskOthers) -> None:
        said: list[Contact | None] = []
        probe = gossip_codec.probe_to_wire(ProbeRequest(self.machine.cluster, self.machine.my_id, step.target))

        def say(contact: Contact | None) -> None:
            said.append(contact)
            if len(said) == len(step.helpers):
                self._do(self.machine.others_tried(step.target, said, self._now()))

        def answered(message: object) -> None:
            say(gossip_codec.tried_from_wire(message) if isinstance(message, wire.ProbeReply) else None)

        for helper in step.helpers:
            self._request(helper, probe, 2 * step.timeout_s, answered, lambda _: say(None))

    def _request(
        self,
        member: Member,
        message: object,
        timeout_s: float,
        answered: Callable[[object], None],
        failed: Callable[[Contact], None],
    ) -> None:
        if self._remote is None:
            failed(Contact.SILENT)
            return
        deadline = self._now() + timeout_s
        call = _Exchange(answered, failed)
        self._remote.post_request(
            member.address, member.id, GOSSIP_ID, message, call, deadline, lane=Lane.SYSTEM
        )  # fmt: skip

    def _now(self) -> float:
        return self._system.clock.now()

    def __repr__(self) -> str:
        return f"Gossiper({self.machine!r})"


class _Exchange(ReplyTo):
    """Waits for one answer."""

    __slots__ = ("_answered", "_failed", "_over")

    def __init__(self, answered: Callable[[object], None], failed: Callable[[Contact], None]) -> None:
        self._answered = answered
        self._failed = failed
        self._over = False

    def reply(self, message: object, headers: Headers | None = None) -> None:
        if not self._over:
            self._over = True
            try:
                self._answered(message)
            except Exception as error:  # noqa: BLE001  what one peer says must not end the stream that brings it
                log.error("gossip answer not understood", **failure_fields(error))

    def fail(self, error: DbgrainsError) -> None:
        if not self._over:
            self._over = True
            self._failed(_contact(error))


def _contact(error: DbgrainsError) -> Contact:
    """What an error says about whether the process is there."""
    if isinstance(error, NotHereError) or (isinstance(error, UnreachableError) and error.refused):
        return Contact.REFUSED
    return Contact.SILENT


def _nothing(_: object) -> None:
    """Nobody waits."""
