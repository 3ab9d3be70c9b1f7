"""Which calls of a grain may run beside which turns."""

from __future__ import annotations

import pytest

from dbgrains.sansio.interleaving import Admission, Mode, admit

EXCLUSIVE, SHARED, FREE = Mode.EXCLUSIVE, Mode.SHARED, Mode.FREE
START, WAIT, CYCLE = Admission.START, Admission.WAIT, Admission.CYCLE

CASES = [
    # mode, running, own turns in the chain, the kind lets chains in, others wait -> what becomes of it
    (EXCLUSIVE, {}, (), False, False, START),
    (EXCLUSIVE, {}, (), False, True, WAIT),
    (EXCLUSIVE, {1: EXCLUSIVE}, (), False, False, WAIT),
    (EXCLUSIVE, {1: SHARED}, (), False, False, WAIT),
    (EXCLUSIVE, {1: FREE}, (), False, False, START),
    (SHARED, {1: SHARED, 2: SHARED}, (), False, False, START),
    (SHARED, {1: SHARED}, (), False, True, WAIT),
    (SHARED, {1: EXCLUSIVE}, (), False, False, WAIT),
    (FREE, {1: EXCLUSIVE, 2: SHARED}, (), False, True, START),
    # it comes from a turn of this grain
    (EXCLUSIVE, {1: EXCLUSIVE}, (1,), False, True, CYCLE),
    (EXCLUSIVE, {1: EXCLUSIVE}, (1,), True, True, START),
    (SHARED, {1: EXCLUSIVE}, (1,), False, True, CYCLE),
    (EXCLUSIVE, {1: SHARED}, (1,), False, True, CYCLE),
    (SHARED, {1: SHARED}, (1,), False, True, START),
    (EXCLUSIVE, {1: FREE, 2: EXCLUSIVE}, (1,), False, True, WAIT),
    (EXCLUSIVE, {1: FREE}, (1,), False, True, START),
    # that turn has ended
    (EXCLUSIVE, {2: EXCLUSIVE}, (1,), True, True, WAIT),
    (EXCLUSIVE, {2: EXCLUSIVE}, (1,), False, False, WAIT),
]


@pytest.mark.parametrize(("mode", "running", "chain", "enter", "others", "expected"), CASES)
def test_what_becomes_of_a_call(
    mode: Mode, running: dict[int, Mode], chain: tuple[int, ...], enter: bool, others: bool, expected: Admission
):
    assert admit(mode, running, chain, chain_may_enter=enter, others_wait=others) is expected


def test_turns_that_exclude_each_other_never_run_together_unless_one_waits_for_the_other():
    for mode in Mode:
        for other in Mode:
            alone = admit(mode, {1: other}, (), chain_may_enter=True, others_wait=False)
            assert (alone is START) == (FREE in (mode, other) or (mode is SHARED and other is SHARED))
