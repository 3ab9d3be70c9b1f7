"""PID: where one actor, or one activation of a grain, can be reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOCAL_ADDRESS: Final = "local"
"""Address of every PID of a system without remoting; a remote replaces it when a PID leaves the process."""


@dataclass(frozen=True, slots=True)
class PID:
    """Address of one actor: a process and the actor's id in it.

    `address` is host:port, `client:<id>` for a process without an inbound port, or `LOCAL_ADDRESS`.
    `member_id` names the incarnation of that process when it is known: a message for an incarnation that
    is gone is refused by its successor on the same port. It is empty in a PID written by hand.
    """

    address: str
    id: str
    member_id: str = ""

    def child(self, name: str) -> PID:
        """The PID that a child of this actor with this name has."""
        return PID(self.address, f"{self.id}/{name}", self.member_id)

    def __str__(self) -> str:
        return f"{self.address}/{self.id}"
