"""An actor in another process, as something that can be posted to here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender

if TYPE_CHECKING:
    from dbgrains.remote.remote import Remote


class RemoteProcess(Process):
    """Stands for `pid`. Holds nothing else, so one is made whenever it is needed."""

    __slots__ = ("_pid", "_remote")

    def __init__(self, remote: Remote, pid: PID) -> None:
        self._remote = remote
        self._pid = pid

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        """Raises MessageError for a message that cannot travel and that nobody waits for: a fault of the caller."""
        pid = self._pid
        if isinstance(sender, ReplyTo):
            self._remote.post_request(pid.address, pid.member_id, pid.id, message, sender, deadline, headers)
        else:
            self._remote.post(pid, message, sender, headers)

    def post_system(self, message: object) -> None:
        self._remote.post_system(self._pid, message)

    def __repr__(self) -> str:
        return f"RemoteProcess({self._pid})"
