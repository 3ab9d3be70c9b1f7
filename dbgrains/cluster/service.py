"""Service: what a plug-in answers to other processes, at the point where requests come in.

It answers in the step in which it is asked, like an actor that cannot wait, and keeps nothing: no mailbox, no
turn, no life. What it raises goes to whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from dbgrains.actor.failure_text import failure_fields
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.errors import ActorFailedError, DbgrainsError

log = structlog.get_logger()


class Service(Process):
    """Answers requests by a plain function."""

    __slots__ = ("_answer", "_name")

    def __init__(self, name: str, answer: Callable[[Any], object]) -> None:
        self._name = name
        self._answer = answer

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        try:
            reply = self._answer(message)
        except DbgrainsError as error:
            if isinstance(sender, ReplyTo):
                sender.fail(error)
        except Exception as error:  # noqa: BLE001  whatever it is, who asked must not wait for it
            log.error("service failed", service=self._name, **failure_fields(error))
            if isinstance(sender, ReplyTo):
                sender.fail(
                    ActorFailedError(
                        f"{self._name} failed: {type(error).__name__}: {error}",
                        type_name=type(error).__name__,
                        text=str(error),
                    )
                )
        else:
            if isinstance(sender, ReplyTo):
                sender.reply(reply)

    def post_system(self, message: object) -> None:
        """It has no life that could be ended or watched."""

    def __repr__(self) -> str:
        return f"Service({self._name})"
