"""What cells tell each other about lives: system messages that no user sees."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbgrains.actor.process import Headers, Sender

if TYPE_CHECKING:
    from dbgrains.actor.lifecycle import LivingCell


@dataclass(frozen=True, slots=True)
class Failure:
    """System message to a parent: `child` failed on `message`."""

    child: LivingCell
    reason: BaseException
    message: object


@dataclass(frozen=True, slots=True)
class Restart:
    """System message: replace the actor by a new instance."""

    reason: BaseException


@dataclass(frozen=True, slots=True)
class Resume:
    """System message: go on as if nothing had happened."""


@dataclass(frozen=True, slots=True, eq=False)
class Continuation:
    """A turn that `reenter_after` asked for."""

    callback: Any
    done: asyncio.Future[Any]
    message: object
    sender: Sender
    headers: Headers | None
