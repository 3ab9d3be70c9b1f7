"""May this call of a grain run now, beside the turns that have begun and not ended?

A method is exclusive (the default: alone), shared (`@readonly`: beside others of its kind) or free (`@reentrant`:
beside everything). A call also brings its chain: the turns that wait for it, here and in other grains. When one of
*this* grain's turns is among them, waiting for it to end would be waiting for oneself: either the kind lets such
calls in, or they fail at once.

    free                                          starts
    a turn of ours waits for it, and kind allows  starts
    nobody in the way, nobody ahead               starts; a turn of ours that waits for it may pass those ahead
    a turn of ours waits for it and is in the way cycle
    anything else                                 waits
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum


class Mode(Enum):
    """What a method may run beside."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"
    FREE = "free"


class Admission(Enum):
    """What becomes of a call."""

    START = "start"
    WAIT = "wait"
    CYCLE = "cycle"


def admit(
    mode: Mode,
    running: Mapping[int, Mode],
    chain: Collection[int],
    *,
    chain_may_enter: bool,
    others_wait: bool,
) -> Admission:
    """What becomes of a call of `mode` while the turns `running` (by number) have not ended.

    `chain` holds the turns of this grain that wait for the call; those that have ended do not count. `others_wait`:
    calls that came before it have not begun.
    """
    if mode is Mode.FREE:
        return Admission.START
    own = [number for number in chain if number in running]
    if own and chain_may_enter:
        return Admission.START
    blockers = {number for number, other in running.items() if in_the_way(mode, other)}
    if not blockers and (own or not others_wait):
        return Admission.START
    if not blockers.isdisjoint(own):
        return Admission.CYCLE
    return Admission.WAIT


def in_the_way(mode: Mode, other: Mode) -> bool:
    """Whether a turn of mode `other` keeps a call of `mode` out."""
    if Mode.FREE in (mode, other):
        return False
    return Mode.EXCLUSIVE in (mode, other)
