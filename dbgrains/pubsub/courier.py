"""Courier: what all topics of one process share: the way to other processes, their tasks, and what they count."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.pid import PID
from dbgrains.actor.process import ReplyTo
from dbgrains.pubsub.delivery import Delivery
from dbgrains.pubsub.messages import DELIVERY_ID, Deliver, Report
from dbgrains.pubsub.roster import LOCAL
from dbgrains.pubsub.statistics import TopicStatistics

if TYPE_CHECKING:
    from dbgrains.cluster.cluster import Cluster
    from dbgrains.config import TopicsConfig
    from dbgrains.pubsub.dead_letters import DeadLetterOffice
    from dbgrains.pubsub.fan_out import FanOut
    from dbgrains.pubsub.topic import TopicActor
    from dbgrains.sansio.identity import ClusterIdentity

log = structlog.get_logger()


class Courier:
    """Carries deliveries of the topics of one process."""

    def __init__(self, cluster: Cluster, config: TopicsConfig) -> None:
        self.cluster = cluster
        self.system = cluster.system
        self.config = config
        self.statistics = TopicStatistics()
        self.serializers = None if cluster.remote is None else cluster.remote.serializers
        self.delivery = Delivery(self.system, self.serializers, config, self.statistics, self.report)
        self.fan_outs: dict[str, FanOut] = {}
        """The deliveries of the topics that are active in this process."""
        self.topics: dict[str, TopicActor] = {}
        """Those topics."""
        self.dead_letters: DeadLetterOffice | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> PID:
        """Where reports are sent to."""
        return self.system.pid_of(DELIVERY_ID)

    def place_of(self, pid: PID) -> tuple[str, str]:
        """The process of an actor: its address and member id, or `LOCAL`."""
        return LOCAL if self.system.registry.is_local(pid) else (pid.address, pid.member_id)

    def member_ids(self) -> frozenset[str]:
        """The members that this process knows."""
        return frozenset(member.id for member in self.cluster.member_list.members)

    def post(self, place: tuple[str, str], deliver: Deliver, answer: ReplyTo) -> None:
        """Send a delivery to another process; `answer` gets a Report, or an error."""
        address, member_id = place
        target = self.system.registry.resolve(PID(address, DELIVERY_ID, member_id))
        target.post_user(deliver, answer, None, self.system.now() + deliver.timeout_s)

    async def find(self, identity: ClusterIdentity, timeout_s: float) -> tuple[str, str]:
        """Where a grain is active; it is activated if it must be."""
        return self.place_of(await self.cluster.get(identity.identity, identity.kind, timeout_s))

    def report(self, report: Report) -> None:
        """News of deliveries of a topic; of no interest when that activation of it has ended."""
        fan_out = self.fan_outs.get(report.topic)
        if fan_out is not None and fan_out.epoch == report.epoch:
            for news in report.flights:
                fan_out.news(news)

    def run(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run something in a task of its own, until `close`."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"dbgrains topic {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """End everything that is under way."""
        self.delivery.close()
        for fan_out in list(self.fan_outs.values()):
            fan_out.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("topic step failed", member=self.system.id, step=task.get_name(), **failure_fields(error))

    def __repr__(self) -> str:
        return f"Courier({self.system.id}, topics={len(self.fan_outs)})"
