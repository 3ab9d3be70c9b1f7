"""Drain: a member that leaves ends its activations, in order and in time.

Nothing new is started, everything stops side by side (but only so many at a time, so that their last turns
and the releases of their grants don't all come at once), and turns that run may finish. Callers who still wait
are told that nothing was run for them, and where to go.

A member that was given up by the others has nothing to finish: `fence` stops all activations from acting, in
one step, and `drop` ends them in many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from dbgrains.actor.gate import Gate
from dbgrains.errors import Outcome, RequestCancelledError

if TYPE_CHECKING:
    from dbgrains.cluster.activator import Activator
    from dbgrains.cluster.grain_cell import GrainCell
    from dbgrains.sansio.topology import Member

STOPPING_MAX: Final = 256
"""Activations that stop side by side."""

STOPS_PER_STEP: Final = 32
"""Of those that begin to in one iteration of the event loop: members that leave still answer others."""

CANCEL_SHARE: Final = 0.25
"""The last part of the time belongs to turns that had to be cancelled."""

log = structlog.get_logger()


async def drain(
    activator: Activator, reason: str, until: float, successor: Callable[[str, str], Member | None] | None = None
) -> int:
    """End everything by `until`. Returns how many did not end by themselves and were cut off.

    Who asks for an identity after its grant was given back is sent on to its `successor`, if that is known.
    """
    now = activator.system.clock.now
    cancel_at = until - (until - now()) * CANCEL_SHARE
    activator.close(reason, successor)
    running: deque[GrainCell] = deque()
    cancelled = False
    while not activator.is_quiet and (left_s := until - now()) > 0:
        if now() >= cancel_at and not cancelled:
            cancelled = True
            _cancel_turns(activator, reason)
        if not running:  # again: what was still starting has become active meanwhile
            running.extend(cell for hosted in activator.kinds.values() for cell in hosted.active.values())
        room = STOPPING_MAX - activator.ending.count
        for _ in range(min(len(running), room, STOPS_PER_STEP)):
            activator.passivate(running.popleft())
        if running and activator.ending.count < STOPPING_MAX:
            await asyncio.sleep(0)
        elif not activator.is_quiet:
            await activator.progress(left_s if cancelled else min(left_s, max(0.0, cancel_at - now())))
    stuck = activator.cells()
    for cell in stuck:
        log.error("grain did not stop", member=activator.system.id, kind=cell.kind, identity=cell.identity)
        activator.drop(cell, reason)
        cell.cut_off()
    await activator.give_up()
    return len(stuck)


def fence(activator: Activator, reason: str) -> int:
    """Start nothing any more, and let nothing leave any activation, at once. Returns how many there are."""
    activator.close(reason)
    shut = Gate(activator.system.clock.boottime)
    cells = activator.cells()
    for cell in cells:
        cell.change_gate(shut)
    return len(cells)


async def drop(activator: Activator, reason: str) -> None:
    """End all activations without their grants, some in each iteration of the event loop."""
    fence(activator, reason)
    cells = activator.cells()
    for start in range(0, len(cells), STOPS_PER_STEP):
        for cell in cells[start : start + STOPS_PER_STEP]:
            activator.drop(cell, reason)
        await asyncio.sleep(0)


def _cancel_turns(activator: Activator, reason: str) -> None:
    for cell in activator.cells():
        cell.cancel_turn(
            RequestCancelledError(
                f"member {activator.system.id} leaves ({reason}) and the turn of {cell.describe()} took too long",
                outcome=Outcome.MAY_HAVE_RUN,
            )
        )
