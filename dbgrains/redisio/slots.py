"""Which node of a Redis Cluster serves which slot, as put together from what several nodes said.

Each node tells what it knows, and may be behind. The configuration epoch of a slot's owner says which of two
answers is the newer one, so a map never goes back to an owner that was replaced. Only a redirection by a node
that does not serve a slot is believed without an epoch: it is about that node itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

SLOTS: Final = 16384

Address: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Primary:
    """A primary as a node's `CLUSTER NODES` lists it."""

    address: Address
    epoch: int
    ranges: tuple[tuple[int, int], ...]


def primaries_of(text: str, asked: Address) -> list[Primary]:
    """The primaries that serve slots. `asked` is how the node was reached that said so."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 8 or "noaddr" in words[2] or "master" not in words[2].split(","):
            continue
        host, port = _address(words[1])
        ranges = tuple(_range(word) for word in words[8:] if not word.startswith("["))
        if ranges:
            found.append(Primary((host or asked[0], port), int(words[6]), ranges))
    return found


class SlotMap:
    """Owner of each slot, as far as known."""

    def __init__(self) -> None:
        self._owners: list[Address | None] = [None] * SLOTS
        self._epochs = [-1] * SLOTS

    def owner(self, slot: int) -> Address | None:
        return self._owners[slot]

    def learn(self, primaries: list[Primary]) -> None:
        """Take over what is not older than what is known."""
        for primary in primaries:
            for first, last in primary.ranges:
                for slot in range(first, last + 1):
                    if primary.epoch >= self._epochs[slot]:
                        self._owners[slot] = primary.address
                        self._epochs[slot] = primary.epoch

    def redirected(self, slot: int, address: Address) -> None:
        """A node said that it does not serve the slot, and who does."""
        self._owners[slot] = address
        self._epochs[slot] = -1

    def owners(self) -> set[Address]:
        return {owner for owner in self._owners if owner is not None}

    @property
    def unserved(self) -> int:
        """Slots that nobody is known to serve."""
        return self._owners.count(None)


def _address(word: str) -> Address:
    """Of `host:port@busport,hostname`; host may be empty, or an IPv6 address with colons of its own."""
    host, _, port = word.partition("@")[0].rpartition(":")
    return host, int(port)


def _range(word: str) -> tuple[int, int]:
    first, dash, last = word.partition("-")
    return int(first), int(last if dash else first)
