"""How a system ends: ask, wait, insist, and leave nothing behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.errors import Outcome, RequestCancelledError

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem

_log = structlog.get_logger()

_POLL_S: Final = 0.005
_CANCEL_GRACE_S: Final = 0.5
"""How long cancelled turns may take to end."""


async def stop_everything(system: ActorSystem) -> None:
    """Stop all actors, in order, in time; then the workers, timers, handlers and futures."""
    system.root.timers.close()
    roots = system.root_cells()
    for cell in reversed(roots):
        cell.stop_cell()
    if not await _all_gone(roots, system.config.stop_timeout_s) and (cells := _cells(system)):
        _log.warning("actors did not stop in time: cancelling their turns", count=len(cells))
        await _insist(system)
    stuck = await system.workers.close(_CANCEL_GRACE_S)
    if stuck:
        _log.error("turns ignore their cancellation and are abandoned", count=stuck)
    for cell in _cells(system):
        cell.cut_off()
    system.pending.cancel_all(f"actor system {system.name!r} has stopped")
    await system.event_stream.close()


def _cells(system: ActorSystem) -> list[ActorCell]:
    return [process for process in system.registry.local_processes() if isinstance(process, ActorCell)]


async def _all_gone(cells: list[ActorCell], timeout_s: float) -> bool:
    """Wait until all of `cells` have stopped, the last one first; whether that came true in time."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        while cells and cells[-1].is_stopped:
            cells.pop()
        if not cells:
            return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(_POLL_S)


async def _insist(system: ActorSystem) -> None:
    """Cancel turns that wait, again and again: a stuck handler may be followed by a stuck Stopping."""
    deadline = system.loop.time() + _CANCEL_GRACE_S
    error = RequestCancelledError(
        f"actor system {system.name!r} stopped while the turn ran", outcome=Outcome.MAY_HAVE_RUN
    )
    while system.loop.time() < deadline:
        for cell in system.workers.waiting_cells():
            if isinstance(cell, ActorCell):
                cell.cancel_turn(error)
        if await _all_gone(_cells(system), 2 * _POLL_S):
            return
