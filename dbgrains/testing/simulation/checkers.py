"""What must be true of a history. Each checker reads it and returns what is not; none changes anything.

one_at_a_time          I1  the intervals in which activations of one identity can act do not overlap
tokens_are_one_members I2  a token of an identity belongs to one incarnation
tokens_never_fall      I3  turns of an identity begin with tokens that never fall
states_are_lines       I11 each accepted write of a state stands on the one before, none is by an older activation
                           than has acted, and what was accepted is found, unless the database lost it
calls_end_once             every call has exactly one end, in time; what "did not start" was not run, and
                           nothing is run twice
totals_hold                an acknowledged increment is never lost, and counted once
linearizable               the answers of each key have an order that explains them
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from dbgrains.sansio.identity import key_form
from dbgrains.testing.simulation.history import Call, History, Interval, Violation
from dbgrains.testing.simulation.linearizability import Model, Operation, is_linearizable

Checker: TypeAlias = Callable[[History], Iterable[Violation]]

_SAME_INSTANT_S: Final = 1e-7
"""Below what the conversion between a process's clock and the true time can be off."""


def one_at_a_time(history: History) -> Iterable[Violation]:
    """I1: at any time at most one activation of an identity can act."""
    by_identity: dict[tuple[str, str], list[Interval]] = defaultdict(list)
    for interval in history.intervals:
        by_identity[interval.kind, interval.identity].append(interval)
    for intervals in by_identity.values():
        acting: Interval | None = None
        for interval in sorted(intervals, key=lambda one: one.began):
            if acting is not None and interval.began < acting.ended - _SAME_INSTANT_S:
                yield Violation(
                    "I1 two activations can act",
                    f"{acting} until {acting.ended:.4f} s, and {interval}",
                    interval.began,
                )
            if acting is None or interval.ended > acting.ended:
                acting = interval


def tokens_are_one_members(history: History) -> Iterable[Violation]:
    """I2: nobody has a token that another has, or had."""
    owners: dict[tuple[str, str, int], str] = {}
    for interval in history.intervals:
        owner = owners.setdefault((interval.kind, interval.identity, interval.token), interval.member)
        if owner != interval.member:
            yield Violation("I2 a token of two members", f"{interval}, and on {owner}", interval.began)


def tokens_never_fall(history: History) -> Iterable[Violation]:
    """I3: a later turn has the same token, or a larger one."""
    last: dict[tuple[str, str], Any] = {}
    for turn in history.turns:
        before = last.get((turn.kind, turn.identity))
        if before is not None and turn.token < before.token:
            yield Violation(
                "I3 an older activation acts after a newer one",
                f"{turn.kind}/{turn.identity}: {turn.member} with token {turn.token} after {before.member} with "
                f"{before.token} (at {before.at:.4f} s)",
                turn.at,
            )
        last[turn.kind, turn.identity] = turn


def states_are_lines(history: History) -> Iterable[Violation]:
    """I11: per state one line of writes, by tokens that never fall."""
    acted: dict[str, list[tuple[float, int]]] = defaultdict(list)
    if history.states.saved:
        for turn in history.turns:
            acted[key_form(turn.kind, turn.identity)].append((turn.at, turn.token))
    for save in history.states.saved:
        name, before = f"{save.key}: version {save.version} by {save.member} with token {save.token}", save.before
        expected = before.version + 1 if before is not None else 1
        if save.version != expected:
            yield Violation("I11 the versions of a state are no line", f"{name}, expected {expected}", save.at)
        newest = max((token for at, token in acted[save.key] if save.lost_at < at < save.at), default=0)
        if before is not None:
            newest = max(newest, before.token)
        if save.token < newest:
            yield Violation(
                "I11 an older activation wrote after a newer one", f"{name}, after one with {newest}", save.at
            )
    for load in history.states.loaded:
        stored = (load.last.version, load.last.token, load.last.payload) if load.last is not None else (0, 0, None)
        if (load.found.version, load.found.token, load.found.payload) != stored:
            yield Violation(
                "I11 a state that was accepted is not there", f"{load.key}: {load.found} is stored", load.at
            )


def calls_end_once(history: History, *, slack_s: float = 0.5, timeout_s: float = 1.0) -> Iterable[Violation]:
    """Each call has one end, and at most one turn. Turns are known of grains that report them."""
    turns: dict[int, int] = defaultdict(int)
    for turn in history.turns:
        if turn.call:
            turns[turn.call] += 1
    for call in history.calls:
        name = f"call {call.number} of {call.client} to {call.kind}/{call.identity}"
        if call.ends > 1:
            yield Violation("a call ended more than once", name, call.ended)
        if call.ends == 0 and history.ended_at - call.began > timeout_s + slack_s:
            yield Violation("a call never ended", f"{name}, begun at {call.began:.4f} s", call.began)
        if call.ends and call.ended - call.began > timeout_s + slack_s:
            yield Violation("a call ended late", f"{name} took {call.ended - call.began:.3f} s", call.ended)
        if turns[call.number] > 1:
            yield Violation("a call was run twice", f"{name}: {turns[call.number]} turns", call.began)
        if call.started is False and turns[call.number]:
            yield Violation("a call that was said not to have started was run", f"{name}: {call.error}", call.began)


class Totals:
    """A counter per identity: calls that increment it by one and are answered with the new total.

    `is_increment` picks the calls and `total` reads their answers; `stored` is what each counter is worth at the end.
    """

    def __init__(
        self, is_increment: Callable[[Call], bool], total: Callable[[Any], int], stored: Mapping[str, int]
    ) -> None:
        self._is_increment = is_increment
        self._total = total
        self._stored = stored

    def __call__(self, history: History) -> Iterable[Violation]:
        acknowledged: dict[str, dict[int, Call]] = defaultdict(dict)
        possible: dict[str, int] = defaultdict(int)
        for call in history.calls:
            if not self._is_increment(call):
                continue
            possible[call.identity] += call.started is not False
            if call.is_answered:
                total = self._total(call.answer)
                other = acknowledged[call.identity].setdefault(total, call)
                if other is not call:
                    yield Violation(
                        "an increment was lost",
                        f"{call.identity}: calls {other.number} and {call.number} both made it {total}",
                        call.ended,
                    )
        for identity, made in possible.items():
            total = self._stored.get(identity, 0)
            answered = len(acknowledged[identity])
            if not answered <= total <= made:
                yield Violation(
                    "an acknowledged increment is missing" if total < answered else "more was counted than was asked",
                    f"{identity} is {total}; {answered} were acknowledged, {made} may have run",
                    history.ended_at,
                )


class Linearizable:
    """Per identity, the answers are explained by some order of the calls that respects who came before whom.

    `operation` says what a call means to `model`, or None when it is not to be looked at.
    """

    def __init__(self, model: Model, operation: Callable[[Call], Hashable | None]) -> None:
        self._model = model
        self._operation = operation
        self.undecided = 0
        """Identities for which the search was given up."""

    def __call__(self, history: History) -> Iterable[Violation]:
        by_identity: dict[tuple[str, str], list[Operation]] = defaultdict(list)
        for call in history.calls:
            what = self._operation(call)
            if what is not None and call.started is not False:
                ended = call.ended if call.is_answered else float("inf")
                by_identity[call.kind, call.identity].append(
                    Operation(what, call.began, ended, call.answer if call.is_answered else None, call.is_answered)
                )
        for (kind, identity), operations in by_identity.items():
            verdict = is_linearizable(operations, self._model)
            if verdict is None:
                self.undecided += 1
            elif not verdict:
                yield Violation("not linearizable", f"{kind}/{identity}: {len(operations)} calls", operations[0].began)


PROTOCOL: Final[tuple[Checker, ...]] = (
    one_at_a_time,
    tokens_are_one_members,
    tokens_never_fall,
    states_are_lines,
    calls_end_once,
)
"""What holds for every kind of grain, under every fault."""
