"""The story that `dbgrains demo` plays, act by act.

Members are real processes, the client is this one. What the screen shows and what the report says come from the
client's own eyes: the answers it got, and the accounts it keeps of them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from dbgrains.cluster.cluster import Cluster
from dbgrains.cluster.member_list import TopologyChanged
from dbgrains.demo.application import LEASE, LOOKUPS, client_cluster, forget_cluster, read_counters
from dbgrains.demo.counter import KIND, CounterValue, ReadCounter
from dbgrains.demo.crew import Crew, StorySpoiledError, a_crew, all_agree, id_of, port_of
from dbgrains.demo.latency import Latencies
from dbgrains.demo.ledger import Ledger
from dbgrains.demo.load import Load
from dbgrains.demo.news import News
from dbgrains.demo.report import Report
from dbgrains.demo.screen import MemberView, Screen, View
from dbgrains.errors import ConfigError
from dbgrains.testing.redis_server import EmbeddedRedis

KILL_AFTER: Final = 0.4
"""Of the time; the rest shows the grains come back and flow on."""

RETURN_TIMEOUT_S: Final = 30.0
"""The story waits this long for the last counter of the killed member, whatever `seconds` says."""

NEWCOMERS_PER_MEMBER: Final = 20
"""Counters that are called for the first time when the killed member is replaced, so that it gets its share."""

VIEW_INTERVAL_S: Final = 0.25


@dataclass(frozen=True)
class Plan:
    """What to play."""

    members: int = 3
    counters: int = 1000
    seconds: float = 12.0
    redis_url: str | None = None
    """None starts an embedded server for the occasion."""

    lookup: str = "db"
    """One of `LOOKUPS`."""

    def __post_init__(self) -> None:
        if self.members < 2:
            raise ConfigError(f"members: got {self.members}; expected at least 2, because one of them is killed")
        if self.counters < 1:
            raise ConfigError(f"counters: got {self.counters}; expected at least 1")
        if self.lookup not in LOOKUPS:
            raise ConfigError(f"lookup: got {self.lookup!r}; expected one of {', '.join(LOOKUPS)}")
        if not 1 <= self.seconds <= 3600:
            raise ConfigError(f"seconds: got {self.seconds:g}; expected 1 to 3600")


async def play(plan: Plan, screen: Screen) -> Report:
    """Play the story and report what was seen. Whatever happens, no process of it is left behind."""
    async with AsyncExitStack() as stack:
        name = f"demo-{uuid.uuid4().hex[:8]}"
        url = plan.redis_url
        if url is None:
            server = await stack.enter_async_context(EmbeddedRedis())
            url = server.url
            screen.tell(f"An embedded Valkey listens on {url}.")
        else:
            stack.push_async_callback(forget_cluster, url, name)
        cluster = await stack.enter_async_context(client_cluster(url, name, plan.lookup))
        crew = await stack.enter_async_context(a_crew(url, name, plan.lookup, plan.members))
        await all_agree(cluster, crew.ids)
        screen.tell(f"{plan.members} members joined the cluster {name}, each a process of its own.")
        return await _Story(plan, screen, cluster, crew).play()


class _Story:
    """One performance."""

    def __init__(self, plan: Plan, screen: Screen, cluster: Cluster, crew: Crew) -> None:
        self._plan = plan
        self._screen = screen
        self._cluster = cluster
        self._crew = crew
        self._names = {id_of(process): name for name, process in crew.members.items()}
        self._counters = [f"click-counter-{number}" for number in range(plan.counters)]
        self._ledger = Ledger()
        self._load = Load(cluster, self._counters, self._ledger, on_answer=self._answered)
        self._news = News(cluster)
        self._loop = asyncio.get_running_loop()
        self._answers = dict.fromkeys(crew.members, 0)
        self._states = dict.fromkeys(crew.members, "alive")
        self._killed = ""
        self._dead_id = ""
        self._killed_at = 0.0
        self._homeless: set[str] = set()
        self._back_s: list[float] = []

    async def play(self) -> Report:
        plan, report = self._plan, Report(members=self._plan.members, counters=self._plan.counters, spread={})
        self._load.start()
        watching = asyncio.create_task(self._watch())
        try:
            await self._spread(report)
            await self._news.start()
            started, acknowledged = self._loop.time(), self._ledger.acknowledged
            await self._until(started + KILL_AFTER * plan.seconds)
            self._kill(report)
            await self._all_back()
            await self._heal(report)
            await self._until(started + plan.seconds)
            report.seconds = self._loop.time() - started
            report.calls_per_s = (self._ledger.acknowledged - acknowledged) / report.seconds
            await self._load.stop()
            await self._news.stop()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await self._load.abort()
            await self._news.stop()
        await self._account(report)
        self._tell_news(report)
        await self._leave(report)
        return report

    async def _spread(self, report: Report) -> None:
        """Act 1: every counter is called once, which brings it to life."""
        progress = self._load.progress
        if self._plan.lookup != "db":
            self._screen.tell(
                f"The list of members is new, so somebody might be missing: {LEASE.ttl_s:g} s to register."
            )
        elif self._plan.redis_url is None:
            self._screen.tell(
                f"The database is new, so it might have forgotten who owns what: it grants nothing for "
                f"{LEASE.quarantine_s:g} s."
            )
        deadline = self._loop.time() + RETURN_TIMEOUT_S
        while len(progress.places) < len(self._counters):
            if self._loop.time() > deadline:
                raise StorySpoiledError(
                    f"only {len(progress.places)} of {len(self._counters)} counters have answered within "
                    f"{RETURN_TIMEOUT_S:g} s; errors of their callers: {dict(progress.errors) or 'none'}"
                )
            await asyncio.sleep(0.02)
        report.spread = self._hosted()
        self._screen.tell(
            f"{len(self._counters)} counters came to life: "
            + ", ".join(f"{count} on {name}" for name, count in report.spread.items())
            + ". Nobody had created them."
        )
        progress.latencies = Latencies()  # from here on: the wait for a new database says nothing

    def _kill(self, report: Report) -> None:
        """Act 2: the member with the most counters ends between two instructions."""
        hosted = self._hosted()
        self._killed = max(hosted, key=lambda name: hosted[name])
        dead_id = self._dead_id = id_of(self._crew.members[self._killed])
        self._homeless = {counter for counter, place in self._load.progress.places.items() if place == dead_id}
        report.killed, report.counters_of_killed = self._killed, len(self._homeless)
        self._killed_at = self._loop.time()
        self._states[self._killed] = "killed"
        self._cluster.system.event_stream.subscribe(TopologyChanged, lambda change: self._given_up(change, report))
        self._crew.members[self._killed].kill()
        self._screen.tell(f"SIGKILL for {self._killed}, which hosts {len(self._homeless)} counters. The others go on.")

    async def _all_back(self) -> None:
        """Act 3: its counters answer again, from other members, as soon as its lease has run out."""
        deadline = self._loop.time() + RETURN_TIMEOUT_S
        while self._homeless and self._loop.time() < deadline:
            await asyncio.sleep(0.05)

    def _given_up(self, change: TopologyChanged, report: Report) -> None:
        """The members have agreed that it is dead, and the client has heard of it."""
        if report.given_up_s is None and self._dead_id not in change.topology:
            report.given_up_s = self._loop.time() - self._killed_at
            self._screen.tell(f"The other members gave {self._killed} up {report.given_up_s:.1f} s after the SIGKILL.")

    async def _heal(self, report: Report) -> None:
        """Act 4: another process takes the dead one's name and port, as a new member, and gets its share."""
        name = self._killed
        began = self._loop.time()
        process = await self._crew.start(name, port_of(self._crew.members[name]))
        self._names[id_of(process)] = name
        joined = self._loop.time()
        await all_agree(self._cluster, self._crew.ids)
        report.replaced_s, report.healed_s = joined - began, self._loop.time() - joined
        self._states[name] = "alive"
        newcomers = [f"newcomer-{number}" for number in range(NEWCOMERS_PER_MEMBER * self._plan.members)]
        for counter in newcomers:
            reply = await self._cluster.request(
                counter, KIND, ReadCounter(), timeout=RETURN_TIMEOUT_S, idempotency_key=counter
            )
            assert isinstance(reply, CounterValue)
            report.newcomers_of_healed += reply.member_id == id_of(process)
        self._screen.tell(
            f"{name} is back on its port as a new member, {report.replaced_s:.1f} s after its process was started; "
            f"{report.healed_s:.1f} s later all {self._plan.members} had agreed on it. It got "
            f"{report.newcomers_of_healed} of {len(newcomers)} counters that were called for the first time."
        )

    async def _account(self, report: Report) -> None:
        """Act 5: read every counter, and compare with what callers were told."""
        values = await read_counters(self._cluster, self._counters)
        progress = self._load.progress
        report.acknowledged, report.unknown = self._ledger.acknowledged, self._ledger.unknown
        report.not_done, report.errors = self._ledger.not_done, dict(progress.errors)
        report.latency_p50_ms = 1000 * progress.latencies.quantile_s(0.5)
        report.latency_p99_ms = 1000 * progress.latencies.quantile_s(0.99)
        report.back_elsewhere = len(self._back_s)
        if self._back_s:
            report.first_back_s, report.last_back_s = min(self._back_s), max(self._back_s)
        report.sum_of_counters = sum(values.values())
        report.discrepancies = [str(found) for found in self._ledger.check(values)]

    def _tell_news(self, report: Report) -> None:
        """And the topic: what was published all along has come, through the killing as well."""
        news = self._news
        report.news_published, report.news_missing, report.news_repeated = news.published, news.missing, news.repeated
        lives = f"{len(news.epochs)} lives" if len(news.epochs) > 1 else "one life"
        self._screen.tell(
            f"{news.published} messages were published to the topic 'news' meanwhile, which had {lives}: "
            f"{news.missing} are missing, {news.repeated} came twice."
        )

    async def _leave(self, report: Report) -> None:
        """Act 6: the members drain and leave."""
        living = self._crew.members
        codes = await asyncio.gather(*(process.terminate() for process in living.values()))
        report.exit_codes = dict(zip(living, codes, strict=True))
        self._screen.tell("All members drained and left.")

    def _answered(self, counter: str, member_id: str) -> None:
        name = self._names.get(member_id)
        if name is not None:
            self._answers[name] += 1
        if counter in self._homeless and member_id != self._dead_id:
            self._homeless.discard(counter)
            self._back_s.append(self._loop.time() - self._killed_at)
            if not self._homeless:
                self._screen.tell(
                    f"All {len(self._back_s)} counters of {self._killed} are back on other members, with their values: "
                    f"the first after {self._back_s[0]:.1f} s, the last after {self._back_s[-1]:.1f} s."
                )

    def _hosted(self) -> dict[str, int]:
        hosted = dict.fromkeys(self._crew.members, 0)
        for place in self._load.progress.places.values():
            if place in self._names:
                hosted[self._names[place]] += 1
        return hosted

    async def _until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - self._loop.time()))

    async def _watch(self) -> None:
        before, last = dict(self._answers), self._loop.time()
        while True:
            await asyncio.sleep(VIEW_INTERVAL_S)
            now = self._loop.time()
            paces = {name: (count - before[name]) / (now - last) for name, count in self._answers.items()}
            before, last = dict(self._answers), now
            self._screen.show(self._view(paces))

    def _view(self, paces: Mapping[str, float]) -> View:
        hosted, latencies = self._hosted(), self._load.progress.latencies
        return View(
            members=[
                MemberView(
                    name=name,
                    pid=process.pid,
                    state=self._states[name],
                    counters=hosted[name],
                    calls_per_s=paces[name],
                )
                for name, process in self._crew.members.items()
            ],
            calls_per_s=sum(paces.values()),
            latency_p50_s=latencies.quantile_s(0.5),
            latency_p99_s=latencies.quantile_s(0.99),
            waiting=len(self._homeless),
        )
