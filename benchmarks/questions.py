"""The questions there are, in the order in which they are asked, and how long to ask them."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.report import Row

NAMES: Final = (
    "local_request",
    "remote_request",
    "activation",
    "memory",
    "failover",
    "pubsub",
    "identity",
    "lookups",
    "handover",
    "gossip",
    "typed_calls",
)


@dataclass(frozen=True)
class Effort:
    """How much to measure; less is quicker and noisier."""

    rounds: int = 5
    scale: float = 1.0
    """Multiplies the operations per round."""

    peers: bool = False
    """Measure other actor libraries as well, those that are installed."""

    def operations(self, usual: int) -> int:
        """How many operations one round has."""
        return max(100, int(usual * self.scale))


def question(name: str) -> Callable[[Effort], Awaitable[list[Row]]]:
    """The function that answers `name`: each module of this package named after a question has one called `rows`."""
    answer: Callable[[Effort], Awaitable[list[Row]]] = importlib.import_module(f"benchmarks.{name}").rows
    return answer
