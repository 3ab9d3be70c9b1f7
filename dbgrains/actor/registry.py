"""The registry: from a PID to the process behind it.

Ids are handed out by the system (`$1`, `$2`, ...) or chosen by the user. A namespace such as `@grain` lets
another layer answer for all ids below it without registering each one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from dbgrains.actor.pid import LOCAL_ADDRESS, PID
from dbgrains.actor.process import Process
from dbgrains.errors import InvalidIdentityError, NameTakenError
from dbgrains.sansio.identity import check_name

if TYPE_CHECKING:
    from dbgrains.actor.dead_letter import DeadLetters

Finder: TypeAlias = Callable[[], Process | None]
"""Finds the process of one id; it may find another one, or none, each time."""

FinderOf: TypeAlias = Callable[[str], Finder | None]
"""How a namespace answers: a finder for the rest of an id; None for what is not its own, such as an actor's child."""


class Registry:
    """All processes of one system that can be reached by a PID."""

    def __init__(self, dead_letters: DeadLetters) -> None:
        self._dead_letters = dead_letters
        self._processes: dict[str, Process] = {}
        self._namespaces: dict[str, FinderOf] = {}
        self._last_id = 0
        self.address = LOCAL_ADDRESS
        """This system's own address; PIDs with it, or with LOCAL_ADDRESS, are local."""
        self.member_id = ""
        """What local PIDs carry as their member id: nothing while there is no address."""
        self.member_ids: set[str] = set()
        """Every incarnation that this process has been; a local PID may carry an earlier one."""
        self.remote: Callable[[PID], Process] | None = None
        """Finds the process for a foreign PID; set by the remote layer."""

    def next_id(self) -> str:
        """An id that no actor of this system has had."""
        self._last_id += 1
        return f"${self._last_id}"

    def get(self, id: str) -> Process | None:
        """The local process with this id."""
        process = self._processes.get(id)
        if process is None and (finder := self._finder_in_namespace(id)) is not None:
            return finder()
        return process

    def finder(self, id: str) -> Finder:
        """What `get` does for this one id, for whoever asks often, while its namespace is not removed."""
        return self._finder_in_namespace(id) or partial(self.get if id.startswith("@") else self._processes.get, id)

    def add(self, id: str, process: Process) -> None:
        """Make `process` reachable. NameTakenError when another one is."""
        if id in self._processes:
            raise NameTakenError(f"actor name {id!r} is taken by {self._processes[id]!r}; it is free once that stopped")
        self._processes[id] = process

    def remove(self, id: str) -> None:
        """The process is gone. Removing twice is once."""
        self._processes.pop(id, None)

    def add_namespace(self, namespace: str, finder_of: FinderOf) -> None:
        """Ids `<namespace>/<rest>` are found by `finder_of(rest)()`. `namespace` begins with @."""
        if not namespace.startswith("@") or "/" in namespace:
            raise InvalidIdentityError(f"namespace: got {namespace!r}; expected a name that begins with @, without /")
        self._namespaces[namespace] = finder_of

    def remove_namespace(self, namespace: str) -> None:
        """Nobody answers for it any more. Removing twice is once."""
        self._namespaces.pop(namespace, None)

    def _finder_in_namespace(self, id: str) -> Finder | None:
        if not id.startswith("@"):
            return None
        namespace, _, rest = id.partition("/")
        finder_of = self._namespaces.get(namespace)
        return finder_of(rest) if finder_of is not None else None

    def is_local(self, pid: PID) -> bool:
        """Whether `pid` is of this process, in whatever spelling."""
        address = pid.address
        return address == LOCAL_ADDRESS or (
            address == self.address and (not pid.member_id or pid.member_id in self.member_ids)
        )

    def resolve(self, pid: PID) -> Process:
        """Where to post what is meant for `pid`; never fails, dead letters stand in."""
        process: Process | None
        if pid.address == LOCAL_ADDRESS and (process := self._processes.get(pid.id)) is not None:
            return process
        if self.is_local(pid):
            process = self.get(pid.id)
            if process is not None:
                return process
        elif self.remote is not None and pid.address != self.address:
            return self.remote(pid)
        return self._dead_letters.process_for(pid)

    def local_processes(self) -> list[Process]:
        """A snapshot of everything registered."""
        return list(self._processes.values())

    def __len__(self) -> int:
        return len(self._processes)

    def __repr__(self) -> str:
        return f"Registry({len(self)} processes, {len(self._namespaces)} namespaces)"


def check_actor_name(name: object) -> str:
    """`name` when a user may give it to an actor: as for identities, and without $ or @ in front."""
    checked = check_name("actor name", name)
    if checked[0] in "$@":
        raise InvalidIdentityError(
            f"actor name: got {checked!r:.80}; names that begin with $ or @ belong to the system"
        )
    return checked
