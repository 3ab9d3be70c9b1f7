"""Idle grains go: one task per kind that has an idle timeout, and nothing per grain.

Cells note the system's coarse clock when a turn begins. The sweep refreshes that clock before it compares, so what
a cell noted is at most one sweep old, and a grain goes between one and about one and a quarter timeouts after its
last message. Messages count by the turns they cause; a grain with something to do is not idle.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dbgrains.cluster.activator import Activator
    from dbgrains.cluster.hosted_kind import HostedKind

SWEEPS_PER_TIMEOUT: Final = 8
SWEEP_MIN_S: Final = 0.01
SWEEP_MAX_S: Final = 60.0

CELLS_PER_STEP: Final = 2_000
"""Cells looked at before the event loop may do something else."""


async def sweep_idle(activator: Activator, hosted: HostedKind, idle_timeout_s: float) -> None:
    """End the activations of one kind that were not used; runs until cancelled."""
    coarse = activator.system.coarse
    pause_s = min(SWEEP_MAX_S, max(SWEEP_MIN_S, idle_timeout_s / SWEEPS_PER_TIMEOUT))
    coarse.refresh()
    while True:
        await asyncio.sleep(pause_s)
        used_before = coarse.refresh() - idle_timeout_s - pause_s
        for number, cell in enumerate(list(hosted.active.values()), start=1):
            if cell.last_used < used_before and cell.is_idle:
                activator.passivate(cell)
            if number % CELLS_PER_STEP == 0:
                await asyncio.sleep(0)
