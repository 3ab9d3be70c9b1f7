"""What only some actors have: children, watchers, timers, a receive timeout, a store, a history of failures.

An actor that uses none of it, which is what a million idle grains do, has no `Extras` object at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from dbgrains.actor.pid import PID
from dbgrains.actor.process import ReplyTo
from dbgrains.actor.supervisor import ChildStats
from dbgrains.actor.timers import Timers
from dbgrains.errors import RequestError

if TYPE_CHECKING:
    from dbgrains.actor.life_messages import Continuation
    from dbgrains.actor.lifecycle import LivingCell

Place = tuple[str, str]
"""A PID without its spelling: equal for every PID that names the same actor."""


class Extras:
    """The rare parts of one cell. Everything begins absent."""

    __slots__ = (
        "abort",
        "actor",
        "cancellation",
        "children",
        "children_gone",
        "displaced",
        "influenced_at",
        "receive_timeout_handle",
        "receive_timeout_s",
        "reentering",
        "restart_handle",
        "stats",
        "store",
        "system",
        "timers",
        "urgent",
        "watchers",
        "watching",
    )

    def __init__(self) -> None:
        self.actor: Any = None
        """The actor itself, when middleware or decorators stand in front of it."""
        self.system: deque[object] | None = None
        """System messages that wait."""
        self.urgent: deque[object] | None = None
        """Turns that come before user messages: continuations and Terminated."""
        self.children: dict[str, LivingCell] | None = None
        """By id, in the order in which they were spawned."""
        self.children_gone: asyncio.Future[None] | None = None
        """Done when the last child has stopped; somebody waits for that."""
        self.watchers: dict[Place, PID] | None = None
        self.watching: dict[Place, PID] | None = None
        self.stats: ChildStats | None = None
        """Its own failures, as its supervisor remembers them."""
        self.restart_handle: asyncio.TimerHandle | None = None
        """The pause before a restart."""
        self.receive_timeout_s: float = 0.0
        self.receive_timeout_handle: asyncio.TimerHandle | None = None
        self.influenced_at: float = 0.0
        """When the last message that counts for the receive timeout began."""
        self.reentering: dict[Continuation, bool] | None = None
        """What `reenter_after` waits for, and whether the task that it waits for was made for it."""
        self.displaced: ReplyTo | None = None
        """The inline caller's own sender, after the handler applied another context."""
        self.timers: Timers | None = None
        self.store: dict[type, Any] | None = None
        self.cancellation: asyncio.Event | None = None
        self.abort: RequestError | None = None
        """Why the turn that waits was cancelled by the system."""
