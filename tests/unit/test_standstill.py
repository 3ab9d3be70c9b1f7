"""What a machine that stands still does to a test, and what it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.standstill import stood_still_s

ROOT = Path(__file__).parents[2]

STOPS_ITSELF = """
import os, pathlib, signal, subprocess, time

def test_it():
    runs = pathlib.Path("runs")
    runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
    time.sleep(0.2)
    subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.2)
    assert len(runs.read_text()) > %d
"""


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_inner.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.standstill",
        "-p",
        "no:cacheprovider",
        "test_inner.py",
    ]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(os.name != "posix", reason="signals stop a process here")
class TestSecondRuns:
    def test_a_test_that_failed_while_the_process_was_stopped_runs_again(self, tmp_path: Path) -> None:
        result = run(tmp_path, STOPS_ITSELF % 1)

        assert result.returncode == 0, result.stdout
        assert "test_inner.py::test_it: run again, the machine stood still for" in result.stdout
        assert (tmp_path / "runs").read_text() == "xx"

    def test_a_second_failure_counts(self, tmp_path: Path) -> None:
        result = run(tmp_path, STOPS_ITSELF % 2)

        assert result.returncode == 1
        assert (tmp_path / "runs").read_text() == "xx"

    def test_a_test_that_passed_does_not_run_again(self, tmp_path: Path) -> None:
        result = run(tmp_path, STOPS_ITSELF % 0)

        assert result.returncode == 0
        assert (tmp_path / "runs").read_text() == "x"


def test_a_process_that_was_busy_did_not_stand_still() -> None:
    assert stood_still_s(passed_s=3.05, used_s=2.9) == 0.0
    assert stood_still_s(passed_s=3.05, used_s=0.1) == pytest.approx(3.0)


def test_a_look_that_comes_a_little_late_means_nothing() -> None:
    assert stood_still_s(passed_s=0.12, used_s=0.0) == 0.0
