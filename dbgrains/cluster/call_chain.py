"""Which turns wait for this call: known to the turn that makes it, carried in a header, read where it arrives.

While a turn of a typed or generated grain runs, `CURRENT` names it; tasks that it starts inherit that. A call that is
made there through the grain's context carries the turns that wait for it, oldest first: its own, and before it those
that its own call came with. A grain that finds one of its unfinished turns among them knows that it would wait for
itself.

Only the latest calls are carried; a cycle through more grains than that ends at its deadline.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final, Protocol

import msgspec

from dbgrains.actor.process import Headers
from dbgrains.sansio.interleaving import Mode

CHAIN_HEADER: Final = "dbgrains-chain"
CALLS_MAX: Final = 32
_NAME_CHARACTERS_MAX: Final = 40
_NO_TURNS: Final[Sequence[int]] = ()


class Turns(Protocol):
    """Where turns happen: one activation."""

    def number_turn(self) -> int:
        """A number that no other turn of the activation has."""
        ...

    def turn_name(self, number: int, method: str) -> str:
        """One turn as an entry of a chain."""
        ...


class Turn(msgspec.Struct, eq=False):
    """One turn of one activation, from its beginning to its end. A Struct, because so many are made."""

    place: Turns
    method: str
    mode: Mode
    headers: Headers | None
    number: int = 0
    """Given when the turn first calls somebody."""
    is_over: bool = False

    def header(self) -> str:
        """What calls of this turn carry."""
        if not self.number:
            self.number = self.place.number_turn()
        own = self.place.turn_name(self.number, self.method)
        caused_by = None if self.headers is None else self.headers.get(CHAIN_HEADER)
        if caused_by is None:
            return own
        return "\n".join([*caused_by.split("\n")[1 - CALLS_MAX :], own])


CURRENT: ContextVar[Turn | None] = ContextVar("dbgrains_turn", default=None)
"""The turn on whose behalf code runs."""


def with_chain(headers: Headers | None) -> Headers | None:
    """`headers` for a call made here: with the chain, when a turn waits for it."""
    turn = CURRENT.get()
    if turn is None or turn.is_over:
        return headers
    return {**headers, CHAIN_HEADER: turn.header()} if headers else {CHAIN_HEADER: turn.header()}


def own_turns(headers: Headers | None, activation: str) -> Sequence[int]:
    """The turns of this activation among those that wait for a call with these headers."""
    chain = None if headers is None else headers.get(CHAIN_HEADER)
    if chain is None or activation not in chain:
        return _NO_TURNS
    found = []
    for entry in chain.split("\n"):
        stamp, _, number = entry.rpartition("\t")[2].partition(":")
        if stamp == activation and number.isdecimal():
            found.append(int(number))
    return found


def calls_in(headers: Headers | None) -> tuple[str, ...]:
    """The calls that a chain names, the oldest first."""
    chain = None if headers is None else headers.get(CHAIN_HEADER)
    return () if chain is None else tuple(entry.partition("\t")[0] for entry in chain.split("\n"))


def entry_of(kind: str, identity: str, method: str, activation: str, number: int) -> str:
    """One turn of a chain."""
    return f"{call_name(kind, identity, method)}\t{activation}:{number}"


def call_name(kind: str, identity: str, method: str) -> str:
    """One call of a chain, for people: short, so that a whole chain fits into a header."""
    short = [
        text if len(text) <= _NAME_CHARACTERS_MAX else text[:_NAME_CHARACTERS_MAX] + "…" for text in (kind, identity)
    ]
    return f"{short[0]}/{short[1]}.{method[:_NAME_CHARACTERS_MAX]}"
