"""Members that are replaced one after the other, while others call their grains all the time."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

import pytest

from dbgrains import DbgrainsError
from tests.multiprocess.member import PROBE, Here, WhereAreYou
from tests.multiprocess.processes import REQUEST_TIMEOUT_S, Site, a_site, member_id, port_of
from tests.waiting import until

pytestmark = pytest.mark.multiprocess

CALLERS = 8

PAUSE_S = 0.002
"""Between the calls of one caller: the members share two processors with those who call them."""

GRAINS = 120
"""Grains that are called again and again. As many calls go to grains that are new, and land on whoever is there."""


@dataclass
class Load:
    """Callers that never stop asking."""

    site: Site
    answered: int = 0
    served_by: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._call(caller)) for caller in range(CALLERS)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self, caller: int) -> None:
        for number in count(caller, CALLERS):
            for identity in (f"old-{number % GRAINS}", f"new-{number}"):
                await asyncio.sleep(PAUSE_S)
                try:
                    here = await self.site.client.request(identity, PROBE, WhereAreYou(), timeout=REQUEST_TIMEOUT_S)
                except DbgrainsError as error:
                    self.failed.append(f"{identity}: {type(error).__name__}: {error}")
                    continue
                assert isinstance(here, Here)
                self.answered += 1
                self.served_by[here.member_id] += 1


@pytest.mark.timeout(400)
async def test_a_rolling_restart_under_load_loses_no_call():
    async with a_site("a", "b", "c", lease="patient") as site:
        load = Load(site)
        load.start()
        await until(lambda: len(load.served_by) == 3, timeout=60)

        for node in ("a", "b", "c"):
            leaving = site.members[node]
            answered = load.answered
            assert await leaving.terminate() == 0
            (successor,) = await site.start(node, port=port_of(leaving))
            await until(lambda new=successor: load.served_by[member_id(new)] > 0, timeout=60)
            await until(lambda before=answered: load.answered > before + 200, timeout=60)

        await load.stop()
        assert load.failed == []
        assert len(load.served_by) == 6
