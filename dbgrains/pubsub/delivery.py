"""Delivery: takes what topics have for the subscribers of this process, and tells what became of it.

Every process that takes part has one, a plain Process of the name `$topics`. It is no actor: what it does are steps
of other actors, and those must not be nested in one of its own. A delivery is handed over in slices, so that
the event loop gets its turn, and in the order in which deliveries came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from time import thread_time
from typing import TYPE_CHECKING, Any, Final

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.pid import LOCAL_ADDRESS, PID
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.actor.turn import step_to_end
from dbgrains.errors import FencedError
from dbgrains.pubsub.handout import Handout
from dbgrains.pubsub.messages import Deliver, FlightReport, Report
from dbgrains.pubsub.pipe import Pipe
from dbgrains.sansio.gaps import TopicGap
from dbgrains.sansio.slices import COUNT_FIRST, next_slice

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem
    from dbgrains.config import TopicsConfig
    from dbgrains.pubsub.statistics import TopicStatistics
    from dbgrains.remote.serializer import Serializers

PIPE_IDLE_S: Final = 120.0
"""A pipe that had nothing to do for so long is forgotten, and with it what its subscriber had last."""

log = structlog.get_logger()


class _Topic:
    """The pipes of one topic in this process."""

    __slots__ = ("epoch", "pipes")

    def __init__(self) -> None:
        self.epoch = 0
        self.pipes: dict[str, Pipe] = {}


class Delivery(Process):
    """Hands over, for one system. `on_report` gets the reports that come for topics of this process."""

    def __init__(
        self,
        system: ActorSystem,
        serializers: Serializers | None,
        config: TopicsConfig,
        statistics: TopicStatistics,
        on_report: Callable[[Report], None],
    ) -> None:
        self.queue_max = config.subscriber_queue_max
        self.nobody = PID(LOCAL_ADDRESS, "$nobody")
        self.find = system.registry.get
        self.on_gap: dict[tuple[str, str], Callable[[TopicGap], None]] = {}
        """Who wants to know of gaps, by topic and local id."""
        self._system = system
        self._serializers = serializers
        self._statistics = statistics
        self._on_report = on_report
        self._topics: dict[str, _Topic] = {}
        self._line: deque[Pipe] = deque()
        self._pumps = False
        """A slice is about to begin."""
        self._is_in_slice = False
        self._slice = COUNT_FIRST
        """Messages handed over before the event loop gets its turn."""
        self._news: list[Handout] = []
        self._closed = False

    @property
    def address(self) -> str:
        return self._system.address

    # --- deliveries ---------------------------------------------------------------------------------------

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        if isinstance(message, Deliver):
            self._take_from_afar(message, sender)
        elif isinstance(message, Report):
            self._on_report(message)
        else:
            self._system.dead_letters.add(self._system.pid_of("$topics"), message, sender, headers)

    def post_system(self, message: object) -> None:
        """It cannot be stopped from outside, and nobody needs to watch it."""

    def take(self, deliver: Deliver, on_news: Callable[[FlightReport], None]) -> None:
        """Begin a delivery. `on_news` hears of every subscriber once: now for some, later for the others."""
        topic = self._topics.get(deliver.topic)
        if topic is None:
            topic = self._topics[deliver.topic] = _Topic()
        now = self._system.now()
        pipes = topic.pipes
        targets = []
        for local_id in (*deliver.at_most_once, *deliver.at_least_once):
            pipe = pipes.get(local_id)
            if pipe is None:
                pipe = pipes[local_id] = Pipe(self, deliver.topic, local_id)
            pipe.used_at = now
            targets.append(pipe)
        topic.epoch = deliver.epoch
        messages = deliver.content.messages(self._serializers)
        handout = Handout(deliver, messages, targets, now + deliver.timeout_s, on_news)
        handout.tells_later = True  # the news of this step go into one report
        if deliver.restart:
            for pipe in targets:
                pipe.restart()
        ordered_from = len(deliver.at_most_once)
        if self._is_in_slice:
            step_to_end(self._hand_out(handout, ordered_from, 0))
        else:
            self._run_slice(lambda left: self._hand_out(handout, ordered_from, left))
        handout.tells_later = False
        if handout.left:
            handout.timer = self._system.loop.call_later(deliver.timeout_s, self._expire, handout)
        on_news(handout.take_news())

    async def _hand_out(self, handout: Handout, ordered_from: int, left: int) -> int:
        """The first step of a delivery, at most `left` messages; how many are left of those. Never waits."""
        messages = handout.messages
        count = len(messages)
        is_readable = not handout.unreadable
        first, epoch = handout.sequence, handout.epoch
        done = 0
        for index, pipe in enumerate(handout.pipes):
            cell = pipe.clear_cell
            if (
                cell is not None
                and pipe.next_sequence == first
                and pipe.epoch == epoch
                and left >= count
                and is_readable
            ):
                handled, begun = await cell.run_series(messages, pipe.turn)
                if handled == count:
                    left -= count
                    pipe.next_sequence = first + count
                    done += 1
                    continue
                if handled or begun:
                    left -= handled
                    pipe.stumbled(handout, index, handled, begun=begun, ordered=index >= ordered_from)
                    continue
            pipe.take(handout, index, ordered=index >= ordered_from)
        handout.left -= done
        self._statistics.delivered += done * count
        return left

    def _take_from_afar(self, deliver: Deliver, sender: Sender) -> None:
        known = self._topics.get(deliver.topic)
        if known is not None and deliver.epoch < known.epoch:
            if isinstance(sender, ReplyTo):
                sender.fail(FencedError(f"topic {deliver.topic!r} has a later activation than the one that sent this"))
            return
        first = sender if isinstance(sender, ReplyTo) else None

        def tell(news: FlightReport) -> None:
            nonlocal first
            report = Report(deliver.topic, deliver.epoch, (news,))
            if first is not None:
                answer, first = first, None
                answer.reply(report)
            elif not self._closed:
                self._system.registry.resolve(deliver.report_to).post_user(report)

        self.take(deliver, tell)

    # --- from the pipes -----------------------------------------------------------------------------------

    def ready(self, pipe: Pipe) -> None:
        """The pipe has something to hand over."""
        if not pipe.is_ready:
            pipe.is_ready = True
            self._line.append(pipe)
            self._pump_soon()

    def finished(self, handout: Handout | None, handled: int) -> None:
        """A subscriber has finished a handout (None: one that was reported before) and handled so many messages."""
        self._statistics.delivered += handled
        if handout is not None and not handout.tells_later:
            self._tell_soon(handout)

    def _tell_soon(self, handout: Handout) -> None:
        if not handout.left:
            handout.close()
        if not handout.tells_later:
            handout.tells_later = True
            if not self._news:
                self._system.loop.call_soon(self._tell)
            self._news.append(handout)

    def gap(self, gap: TopicGap) -> None:
        """Messages did not come."""
        self._statistics.gaps += 1
        log.warning("topic messages missing", member=self._system.id, topic=gap.topic, subscriber=gap.subscriber,
                    epoch=gap.epoch, sequence=gap.sequence, missing=gap.missing)  # fmt: skip
        self._system.event_stream.publish(gap)
        callback = self.on_gap.get((gap.topic, gap.subscriber))
        if callback is not None:
            try:
                callback(gap)
            except Exception as error:  # noqa: BLE001  a callback's error is not the delivery's
                log.error(
                    "on_gap failed", member=self._system.id, topic=gap.topic, subscriber=gap.subscriber,
                    **failure_fields(error),
                )  # fmt: skip

    @property
    def is_busy(self) -> bool:
        """Somebody could be handed something at this moment."""
        return bool(self._line)

    @property
    def lag(self) -> int:
        """Messages that wait for the slowest subscriber."""
        return max((pipe.waiting for topic in self._topics.values() for pipe in topic.pipes.values()), default=0)

    def forget_idle(self) -> None:
        """Let go of pipes that nobody has used for long."""
        oldest = self._system.now() - PIPE_IDLE_S
        for name, topic in list(self._topics.items()):
            idle = [id for id, pipe in topic.pipes.items() if pipe.used_at < oldest and pipe.is_idle]
            for local_id in idle:
                del topic.pipes[local_id]
            if not topic.pipes:
                del self._topics[name]

    def close(self) -> None:
        """Deliver and report nothing more."""
        self._closed = True
        self._line.clear()
        for topic in self._topics.values():
            for pipe in topic.pipes.values():
                pipe.close()
        self._topics.clear()

    # --- steps --------------------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        if not self._pumps and not self._is_in_slice:
            self._pumps = True
            self._system.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumps = False
        self._run_slice(None)

    def _run_slice(self, begin: Callable[[int], Coroutine[Any, Any, int]] | None) -> None:
        """Begin a delivery, if there is one, and let the pipes in the line have their shares, until the slice is up."""
        began = thread_time()  # not the time in which others had the processor
        left = count = self._slice
        self._is_in_slice = True
        try:
            if begin is not None:
                left = step_to_end(begin(left))
            if self._line and left > 0:
                left = step_to_end(self._run_line(left))
        finally:
            self._is_in_slice = False
        self._slice = next_slice(count, count - left, thread_time() - began)
        if self._line:
            self._pump_soon()

    async def _run_line(self, left: int) -> int:
        """Every pipe in the line gets its share of `left` messages; how many are left of those. Never waits."""
        line = self._line
        while line and left > 0:
            pipe = line.popleft()
            pipe.is_ready = False
            left -= await pipe.run(left)
        return left

    def _tell(self) -> None:
        news, self._news = self._news, []
        for handout in news:
            handout.tells_later = False
            if not handout.left:
                handout.close()
            handout.on_news(handout.take_news())

    def _expire(self, handout: Handout) -> None:
        handout.timer = None
        handout.expired = True
        for index, pipe in enumerate(handout.pipes):
            pipe.expire(handout, index)
        self._tell_soon(handout)

    def __repr__(self) -> str:
        return f"Delivery({self._system.id}, topics={len(self._topics)})"
