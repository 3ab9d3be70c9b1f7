"""Spawning an actor in another process: by the name of a kind that was registered there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.errors import (
    ActivationFailedError,
    ConfigError,
    DbgrainsError,
    MessageError,
    RequestError,
)
from dbgrains.remote.serializer import Serializers

if TYPE_CHECKING:
    from dbgrains.actor.props import Props
    from dbgrains.actor.system import ActorSystem

SPAWNER_ID: Final = "$spawn"
"""Id of the process that spawns for others."""


class SpawnRequest(msgspec.Struct, frozen=True):
    """Spawn an actor of `kind`, called `name`, or by a number if that is empty."""

    kind: str
    name: str = ""


def register_messages(serializers: Serializers) -> None:
    """What a spawner and its callers say to each other."""
    serializers.register(SpawnRequest, "dbgrains.SpawnRequest")


class Spawner(Process):
    """Spawns the registered kinds of one system when others ask for it."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._kinds: dict[str, Props] = {}

    def register(self, kind: str, props: Props) -> None:
        """Let others spawn `props` under this name. A kind is registered once."""
        if kind in self._kinds:
            raise ConfigError(f"kind {kind!r} is already registered for remote spawning")
        self._kinds[kind] = props

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        if not isinstance(sender, ReplyTo):
            return  # nobody would learn the PID
        try:
            sender.reply(self._spawn(message))
        except RequestError as error:
            sender.fail(error)
        except DbgrainsError as error:
            sender.fail(ActivationFailedError(str(error)))

    def post_system(self, message: object) -> None:
        """It lives as long as its Remote, and is no actor that could be watched."""

    def _spawn(self, message: object) -> PID:
        if not isinstance(message, SpawnRequest):
            raise MessageError(f"{SPAWNER_ID} spawns actors; it takes no {type(message).__name__}")
        props = self._kinds.get(message.kind)
        if props is None:
            known = ", ".join(sorted(self._kinds)) or "none"
            raise ActivationFailedError(
                f"Kind {message.kind!r} is not registered at {self._system.address} for remote spawning (registered: "
                f"{known}). Register it there: remote.register_kind(name, props)."
            )
        if message.name:
            return self._system.root.spawn_named(props, message.name)
        return self._system.root.spawn(props)
