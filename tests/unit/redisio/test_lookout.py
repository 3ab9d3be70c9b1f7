"""Looking again and again: in time, at once when asked to, and whatever a look meets."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from dbgrains.redisio.lookout import Lookout
from dbgrains.testing import virtual_clock


def test_it_looks_in_its_time_and_at_once_when_asked_but_never_all_the_time():
    async def story() -> list[float]:
        looked_at: list[float] = []

        async def look() -> None:
            looked_at.append(round(asyncio.get_running_loop().time(), 3))

        lookout = Lookout(look, every_s=5.0, where="h:1")
        lookout.start()
        await asyncio.sleep(6)
        for _ in range(10):
            lookout.ask()
            await asyncio.sleep(0.02)
        await asyncio.sleep(5.5)
        await lookout.stop()
        await asyncio.sleep(20)
        return looked_at

    # Asked for 0.2 s, it looks at once, again after its pause of 0.1 s, and so once more.
    assert virtual_clock.run(story()) == [5.0, 6.0, 6.1, 6.2, 11.3]


def test_a_look_that_fails_is_told_and_not_the_last_one():
    async def story() -> int:
        looks = 0

        async def look() -> None:
            nonlocal looks
            looks += 1
            raise ZeroDivisionError("in a look")

        lookout = Lookout(look, every_s=1.0, where="h:1")
        lookout.start()
        await asyncio.sleep(3.5)
        await lookout.stop()
        return looks

    with capture_logs() as logs:
        assert virtual_clock.run(story()) == 3
    assert [(line["where"], line["error"]) for line in logs] == [("h:1", "ZeroDivisionError: in a look")] * 3


def test_what_a_look_has_started_ends_with_it():
    async def story() -> list[str]:
        ended: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append("work")

        async def look() -> None:
            lookout.spawn(work(), name="work")

        lookout = Lookout(look, every_s=1.0, where="h:1")
        lookout.start()
        await asyncio.sleep(1.5)
        await lookout.stop()
        return ended

    assert virtual_clock.run(story()) == ["work"]
