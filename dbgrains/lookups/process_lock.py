"""Proof of death by a file lock: whoever gets the lock of a process knows that the kernel has closed it.

Each member process of a host holds `flock` on one file for its life, and the file says which incarnation it is. The
kernel gives such a lock back only when the last process that has the file open is gone: not when it hangs, is
stopped or is cut off. So the next process on the host, or one that lives there already, may end the dead one's
leases at once (RETIRE) instead of waiting for them to run out.

The folder must be of this host alone and forgotten with it (`/run/...`). On a network file system a lock can be lost
while its process lives; those are refused.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dbgrains.errors import ConfigError

PROCESSES_MAX: Final = 256
"""Members of one cluster on one host."""

_CONTENT_MAX: Final = 1024
_SHARED: Final = ("nfs", "cifs", "smb", "9p", "fuse", "ceph", "gluster", "lustre", "afs", "gfs", "ocfs")


@dataclass(frozen=True, slots=True)
class DeadProcess:
    """An incarnation whose process is gone. Its lock is held by us until `ProcessLock.settled`."""

    member_id: str
    nonce: str
    slot: int
    descriptor: int


class ProcessLock:
    """This process's lock among those of its cluster on this host."""

    def __init__(self, folder: str | Path, cluster: str) -> None:
        self._folder = Path(folder)
        self._cluster = cluster
        self._own: int | None = None
        self._own_slot = -1

    def acquire(self, member_id: str, nonce: str) -> list[DeadProcess]:
        """Take the first free lock and write this incarnation into it; who had it before is dead, and returned."""
        self._check_folder()
        for slot in range(PROCESSES_MAX):
            descriptor = self._lock(slot, create=True)
            if descriptor is None:
                continue
            dead = self._found(slot, descriptor)
            self._own, self._own_slot = descriptor, slot
            # Before the old content is gone somebody must have acted on it: the caller keeps what we return.
            _write(descriptor, json.dumps({"member": member_id, "nonce": nonce}))
            return [] if dead is None else [dead]
        raise ConfigError(f"process_lock_folder: all {PROCESSES_MAX} locks in {self._folder} are taken")

    def dead(self) -> Iterator[DeadProcess]:
        """Others whose lock is free now; each stays locked by us until it is settled."""
        for slot in self._slots():
            if slot == self._own_slot:
                continue
            descriptor = self._lock(slot, create=False)
            if descriptor is None:
                continue
            found = self._found(slot, descriptor)
            if found is None:
                os.close(descriptor)
            else:
                yield found

    def settled(self, dead: DeadProcess, *, done: bool) -> None:
        """Its leases were ended, or nobody knows (not `done`): then another look finds it again."""
        if dead.descriptor == self._own:
            return
        if done:
            _write(dead.descriptor, "")
        os.close(dead.descriptor)

    def release(self) -> None:
        """This incarnation is over in order: there is nothing to prove."""
        own, self._own = self._own, None
        self._own_slot = -1
        if own is not None:
            _write(own, "")
            os.close(own)

    def _lock(self, slot: int, *, create: bool) -> int | None:
        path = self._folder / f"{self._cluster}.{slot}.lock"
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"process_lock_folder: cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _found(self, slot: int, descriptor: int) -> DeadProcess | None:
        try:
            content = json.loads(os.pread(descriptor, _CONTENT_MAX, 0))
            return DeadProcess(str(content["member"]), str(content["nonce"]), slot, descriptor)
        except (ValueError, KeyError, TypeError):
            return None  # empty: it left in order; or half written: it died before it had joined

    def _slots(self) -> Iterator[int]:
        for path in self._folder.glob(f"{self._cluster}.*.lock"):
            slot = path.name[len(self._cluster) + 1 : -len(".lock")]
            if slot.isdigit():
                yield int(slot)

    def _check_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"process_lock_folder: cannot make {self._folder}: {error.strerror}") from error
        kind = _file_system(self._folder)
        if kind.startswith(_SHARED):
            raise ConfigError(
                f"process_lock_folder: {self._folder} is on {kind}, which other hosts may share; expected a folder of "
                "this host alone, such as one below /run"
            )

    def __repr__(self) -> str:
        return f"ProcessLock({self._folder}, {self._cluster!r}, slot={self._own_slot})"


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _file_system(folder: Path) -> str:
    """The type of the file system that `folder` is on; '' where that cannot be read."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    folder = folder.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split(" ")[4].replace("\\040", " "))
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind
