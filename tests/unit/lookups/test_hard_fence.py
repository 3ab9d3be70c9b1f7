"""The kernel's timer, in processes that may be ended by it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import asyncio, signal, sys, time
from dbgrains.config import LeaseConfig
from dbgrains.lookups.hard_fence import HardFence

def boottime():
    return time.clock_gettime(time.CLOCK_BOOTTIME)

async def main():
    HardFence.check()
    fence = HardFence(boottime, LeaseConfig(margin_s=1.25))
    fence.renewed(0, boottime() + 0.2)   # the kernel acts 0.75 s after that
    fence.renewed(1, boottime() + 60)
    {then}
    print("alive", flush=True)

asyncio.run(main())
"""


def run(then: str) -> tuple[int, str, float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{then}", then)], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


@pytest.mark.parametrize(
    "busy",
    [
        "time.sleep(20)",
        "end = time.monotonic() + 20\n    while time.monotonic() < end: pass",
        "pow(3, 3**18)",
    ],
    ids=["sleeping", "spinning", "in a C call that keeps the interpreter"],
)
def test_a_loop_that_is_blocked_until_its_lease_is_nearly_over_is_ended_by_the_kernel(busy: str):
    code, output, took_s = run(busy)

    assert code == -signal.SIGALRM
    assert output == ""
    assert took_s < 15


def test_a_loop_that_shuts_its_gates_in_time_lives_although_nothing_was_renewed():
    code, output, _ = run("await asyncio.sleep(1.5)")

    assert (code, output) == (0, "alive\n")


def test_nothing_is_left_of_the_timer_when_the_leases_are_over():
    code, output, _ = run("fence.ended(); time.sleep(1.5)")

    assert (code, output) == (0, "alive\n")


@pytest.mark.parametrize(
    "other", ["signal.signal(signal.SIGALRM, lambda *_: None)", "signal.setitimer(signal.ITIMER_REAL, 100)"]
)
def test_a_process_that_uses_the_timer_itself_is_refused(other: str):
    code, output, _ = run(f"fence.ended(); {other}; HardFence.check()")

    assert code == 1
    assert "uses SIGALRM or ITIMER_REAL already" in output
