"""How `dbgrains bench` times calls."""

from __future__ import annotations

from dbgrains.cli.bench_command import timed
from dbgrains.errors import ConnectionLostError, Outcome


async def test_a_call_that_a_broken_link_ended_is_made_again():
    calls: list[str] = []

    async def call(grain: str) -> None:
        calls.append(grain)
        if len(calls) == 2:
            raise ConnectionLostError("the member stood still", outcome=Outcome.MAY_HAVE_RUN)

    row = await timed("reads", call, ["a", "b", "c"], 1, None)

    assert calls == ["a", "b", "b", "c"]
    assert row["value"] > 0
    assert row["p50_ms"] <= row["p99_ms"]


async def test_every_caller_calls_once_however_little_time_there_is():
    calls: list[str] = []

    async def call(grain: str) -> None:
        calls.append(grain)

    row = await timed("reads", call, ["a", "b", "c"], 3, 0.0)

    assert sorted(calls) == ["a", "b", "c"]
    assert row["value"] > 0
