"""Locks that outlive nothing but their process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbgrains.errors import ConfigError
from dbgrains.lookups import process_lock
from dbgrains.lookups.process_lock import ProcessLock

HOLD = """
import sys
from dbgrains.lookups.process_lock import ProcessLock
lock = ProcessLock(sys.argv[1], "shop")
lock.acquire("dead.1", "n1")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the first lock until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_killed_process_is_proven_dead_and_a_living_one_is_not(tmp_path: Path, holder: subprocess.Popen[str]):
    lock = ProcessLock(tmp_path, "shop")
    assert lock.acquire("b.1", "n2") == []
    assert list(lock.dead()) == []

    holder.kill()
    holder.wait()
    [dead] = lock.dead()

    assert (dead.member_id, dead.nonce) == ("dead.1", "n1")
    lock.settled(dead, done=True)
    assert list(lock.dead()) == []
    lock.release()


def test_a_stopped_process_is_alive(tmp_path: Path, holder: subprocess.Popen[str]):
    os.kill(holder.pid, 19)
    lock = ProcessLock(tmp_path, "shop")

    assert lock.acquire("b.1", "n2") == []
    assert list(lock.dead()) == []
    lock.release()


def test_the_successor_on_the_same_slot_finds_who_had_it(tmp_path: Path, holder: subprocess.Popen[str]):
    holder.kill()
    holder.wait()
    lock = ProcessLock(tmp_path, "shop")

    [dead] = lock.acquire("b.1", "n2")
    lock.settled(dead, done=False)

    assert dead.member_id == "dead.1"
    other = ProcessLock(tmp_path, "shop")
    assert other.acquire("c.1", "n3") == []
    assert list(other.dead()) == []
    lock.release()
    other.release()


def test_who_was_not_retired_yet_is_found_again(tmp_path: Path, holder: subprocess.Popen[str]):
    lock = ProcessLock(tmp_path, "shop")
    lock.acquire("b.1", "n2")
    holder.kill()
    holder.wait()

    [dead] = lock.dead()
    lock.settled(dead, done=False)

    assert [again.member_id for again in lock.dead()] == ["dead.1"]
    lock.release()


def test_who_left_in_order_is_not_dead(tmp_path: Path):
    first, second = ProcessLock(tmp_path, "shop"), ProcessLock(tmp_path, "shop")
    first.acquire("a.1", "n1")
    second.acquire("b.1", "n2")

    first.release()

    assert list(second.dead()) == []
    second.release()


def test_other_clusters_and_other_files_are_not_ours(tmp_path: Path):
    (tmp_path / "shop.x.lock").write_text("{}")
    (tmp_path / "shop.7.lock").write_text("half a {")
    other = ProcessLock(tmp_path, "other")
    other.acquire("a.1", "n1")
    lock = ProcessLock(tmp_path, "shop")

    assert lock.acquire("b.1", "n2") == []
    assert list(lock.dead()) == []
    lock.release()
    other.release()


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path):
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "shop.0.lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError, match="cannot open"):
        ProcessLock(tmp_path, "shop").acquire("a.1", "n")

    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_a_folder_that_other_hosts_may_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_lock, "_file_system", lambda folder: "nfs4")

    with pytest.raises(ConfigError, match=r"is on nfs4, which other hosts may share"):
        ProcessLock(tmp_path, "shop").acquire("a.1", "n")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="process_lock_folder: cannot make"):
        ProcessLock(tmp_path / "file" / "folder", "shop").acquire("a.1", "n")
