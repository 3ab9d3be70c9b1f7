"""How fast does a topic take messages, and hand them to 1, 10, 100 and 1,000 subscribers?

A batching producer, one topic, subscribers in one process or in three. The floor is what the subscribers themselves
cost: their handlers, awaited one after the other for each message by a loop that knows them all.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, Final

from benchmarks.questions import Effort
from benchmarks.report import Row, Target
from benchmarks.runner import Case, Result, Sample, interleave, measured
from benchmarks.topic_member import CONFIG, topic_cluster
from dbgrains.cluster.cluster import Cluster
from dbgrains.config import BatchingProducerConfig
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.pubsub.subscriber_store import MemorySubscriberStore
from dbgrains.pubsub.topics import Topics
from dbgrains.testing.member_process import MemberProcess
from dbgrains.testing.redis_server import EmbeddedRedis

SIZES: Final = (1, 10, 100, 1000)
EACH: Final = (1, 3, 33, 333)
"""Subscribers on each of three members."""

VARIANTS: Final = {
    "at least once": "fan-out to 100, at least once",
    "may wait": "fan-out to 100 whose handlers may wait, and don't",
    "single": "one message at a time to 1,000",
}

NODES: Final = ("a", "b", "c")
DELIVERIES: Final = 60_000
BATCH: Final = 1_000
MESSAGE: Final = b"x" * 16
READY_TIMEOUT_S: Final = 120.0


async def rows(effort: Effort) -> list[Row]:
    """The aims of one member, and what three members do."""
    results = await measure(effort)
    one, bare_one = results["local 1"], results["floor 1"]
    latency, far = results["latency"], results["latency, three members"]
    found = [
        Row.of(
            "topic, producer to 1 local subscriber",
            one.rate,
            "/s",
            Target(at_least=100_000),
            floor=bare_one.rate,
            ratio=one.ratio_to(bare_one),
            note=f"messages; {one.cpu_us:.1f} µs of processor each",
        )
    ]
    for size in SIZES[1:]:
        result, bare = results[f"local {size}"], results[f"floor {size}"]
        found.append(
            Row.of(
                f"topic, fan-out to {size:,} on one member",
                result.rate,
                "/s",
                Target(at_least=300_000) if size >= 100 else Target(),
                floor=bare.rate,
                ratio=result.ratio_to(bare),
                note=f"deliveries; {result.rate / size / 1000:.1f} k/s messages in",
            )
        )
    extra, bare_extra = _per_extra_us(results, "local"), _per_extra_us(results, "floor")
    found.append(
        Row.of("topic, one subscriber more", extra, "µs", Target(at_most=2.0), floor=bare_extra, note="per message")
    )
    for name, what in VARIANTS.items():
        result, bare = results[name], results["floor 100"]
        found.append(
            Row.of(
                f"topic, {what}",
                result.rate,
                "/s",
                Target(),
                floor=bare.rate,
                ratio=result.ratio_to(bare),
                note=f"deliveries; {result.cpu_us:.1f} µs of processor each",
            )
        )
    for each in EACH:
        result, bare = results[f"three members {each}"], results["floor 1000"]
        found.append(
            Row.of(
                f"topic, fan-out to {3 * each:,} on three members",
                result.rate,
                "/s",
                Target(),
                floor=bare.rate,
                note=f"deliveries; {result.rate / (3 * each) / 1000:.1f} k/s messages in",
            )
        )
    found.append(
        Row.of(
            "topic, publish to receive",
            1e6 * latency.latency_s(0.5),
            "µs",
            Target(),
            floor=1e6 * results["floor: step"].latency_s(0.5),
            note=f"p99 {1e6 * latency.latency_s(0.99):.0f} µs; by a topic in another process: p50 "
            f"{1e6 * far.latency_s(0.5):.0f} µs, p99 {1e6 * far.latency_s(0.99):.0f} µs",
        )
    )
    return found


def _per_extra_us(results: dict[str, Result], name: str) -> float:
    """What one subscriber more costs per message: from the two largest sizes."""
    few, many = SIZES[-2], SIZES[-1]
    seconds = {size: size / results[f"{name} {size}"].rate for size in (few, many)}
    return 1e6 * (seconds[many] - seconds[few]) / (many - few)


async def measure(effort: Effort) -> dict[str, Result]:
    """One process and three, and the floors, in turns."""
    deliveries = effort.operations(DELIVERIES)
    few = effort.operations(1_000)
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(_local())
        client = await stack.enter_async_context(_three_members())
        counts = {size: [0] for size in SIZES}
        handlers = {size: [_counting([0]) for _ in range(size)] for size in SIZES}
        sure, patient = [0], [0]
        for size in SIZES:
            for _ in range(size):
                await local.subscribe(f"to-{size}", _counting(counts[size]))
        for _ in range(100):
            await local.subscribe("at-least-once", _counting(sure), guarantee="at_least_once")
            await local.subscribe("may-wait", _counting_patiently(patient))
        near, far = _Clocked(), _Clocked()
        await local.subscribe("latency", near)
        await client.subscribe("latency", far, timeout=READY_TIMEOUT_S)

        async def fan_out(topic: str, size: int, count: list[int]) -> Sample:
            messages = max(10, deliveries // size)
            return await measured(_produced(local, topic, messages, size, count), messages * size)

        async def single() -> Sample:
            messages = max(10, deliveries // 1000)
            return await measured(_published(local, "to-1000", messages, 1000, counts[1000]), messages * 1000)

        async def bare(size: int) -> Sample:
            messages = max(10, deliveries // size)
            return await measured(_called(handlers[size], messages), messages * size)

        async def remotely(each: int) -> Sample:
            messages = max(10, deliveries // (3 * each))
            return await measured(_delivered(client, f"each-{each}", messages), messages * 3 * each)

        cases = [
            *(Case(f"floor {size}", partial(bare, size)) for size in SIZES),
            *(Case(f"local {size}", partial(fan_out, f"to-{size}", size, counts[size])) for size in SIZES),
            Case("at least once", lambda: fan_out("at-least-once", 100, sure)),
            Case("may wait", lambda: fan_out("may-wait", 100, patient)),
            Case("single", single),
            *(Case(f"three members {each}", partial(remotely, each)) for each in EACH),
            Case("floor: step", lambda: _steps(few)),
            Case("latency", lambda: near.measured(local, few)),
            Case("latency, three members", lambda: far.measured(client, few)),
        ]
        return await interleave(cases, rounds=effort.rounds)


# --- the places -------------------------------------------------------------------------------------------


@asynccontextmanager
async def _local() -> AsyncIterator[Cluster]:
    async with Cluster(
        name="bench", lookup=SingleNodeLookup(), extensions=[Topics(MemorySubscriberStore(), CONFIG)]
    ) as cluster:
        yield cluster


@asynccontextmanager
async def _three_members() -> AsyncIterator[Cluster]:
    """A client of three member processes with subscribers."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis())
        name = f"bench-{uuid.uuid4().hex[:8]}"

        async def start(node: str) -> MemberProcess:
            return await MemberProcess.start(
                "benchmarks.topic_member",
                "--redis", redis.url, "--cluster", name, "--node", node, "--each", *map(str, EACH),
                ready_timeout_s=READY_TIMEOUT_S,
            )  # fmt: skip

        for process in await asyncio.gather(*map(start, NODES)):
            stack.push_async_exit(process)
        client = topic_cluster(redis.url, name, client=True)
        await client.start_client()
        stack.push_async_callback(client.shutdown)
        yield client


def _counting(count: list[int]) -> Callable[[Any], Awaitable[None]]:
    async def handler(context: Any) -> None:
        count[0] += 1

    return handler


def _counting_patiently(count: list[int]) -> Callable[[Any], Awaitable[None]]:
    async def ended() -> None:
        """What is awaited, and has ended already."""

    async def handler(context: Any) -> None:
        count[0] += 1
        await ended()

    return handler


# --- the work ---------------------------------------------------------------------------------------------


async def _produced(cluster: Cluster, topic: str, messages: int, size: int, count: list[int]) -> None:
    """By a batching producer, until all subscribers have all of it."""
    goal = count[0] + messages * size
    settings = BatchingProducerConfig(batch_size=BATCH, publish_timeout_s=60.0)
    async with cluster.batching_producer(topic, settings) as producer:
        last = None
        for number in range(messages):
            last = await producer.produce_wait(MESSAGE) if number % BATCH == 0 else producer.produce(MESSAGE)
            if number % BATCH == BATCH - 1:
                await last
        if last is not None:
            await last
    while count[0] < goal:
        await asyncio.sleep(0)


async def _delivered(cluster: Cluster, topic: str, messages: int) -> None:
    """By a batching producer that waits for the deliveries."""
    settings = BatchingProducerConfig(batch_size=BATCH, wait_for="delivered", publish_timeout_s=60.0, max_in_flight=4)
    async with cluster.batching_producer(topic, settings) as producer:
        futures = [await producer.produce_wait(MESSAGE) for _ in range(messages)]
        await asyncio.gather(*futures)


async def _published(cluster: Cluster, topic: str, messages: int, size: int, count: list[int]) -> None:
    """One by one, until all subscribers have all of it."""
    goal = count[0] + messages * size
    publisher = cluster.publisher()
    for _ in range(messages):
        await publisher.publish(topic, MESSAGE, timeout=60.0)
    while count[0] < goal:
        await asyncio.sleep(0)


async def _called(handlers: list[Callable[[Any], Awaitable[None]]], messages: int) -> None:
    """The handlers and nothing else."""
    for _ in range(messages):
        for handler in handlers:
            await handler(MESSAGE)


async def _steps(operations: int) -> Sample:
    """What one round of the event loop takes: nothing that waits for its turn is quicker."""
    loop, latencies = asyncio.get_running_loop(), list[float]()
    started = perf_counter()
    for _ in range(operations):
        done: asyncio.Future[float] = loop.create_future()
        loop.call_soon(done.set_result, perf_counter())
        latencies.append(perf_counter() - await done)
    return Sample(operations, perf_counter() - started, latencies_s=latencies)


class _Clocked:
    """A subscriber that notes how long each message took."""

    def __init__(self) -> None:
        self._latencies: list[float] = []
        self._came = asyncio.Event()

    async def __call__(self, context: Any) -> None:
        self._latencies.append(perf_counter() - context.message)
        self._came.set()

    async def measured(self, cluster: Cluster, operations: int) -> Sample:
        """One message after the other."""
        publisher = cluster.publisher()
        self._latencies = []
        started = perf_counter()
        for _ in range(operations):
            self._came.clear()
            await publisher.publish("latency", perf_counter(), timeout=60.0)
            await self._came.wait()
        return Sample(operations, perf_counter() - started, latencies_s=list(self._latencies))
