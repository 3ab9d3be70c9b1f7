"""compose.yaml under a real Docker engine: python -m tests.compose (or: make compose-test)

Brings everything up, watches the load driver, kills a member's container with SIGKILL, restarts Redis, starts the
member again, and takes all of it down. It passes when the rate comes back after each of these, the driver finds every
acknowledged increment, and every member that was asked to leave left within its grace period.

Needs a Docker engine and docker-compose (or `docker compose`); it isn't part of `make test`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = "dbgrains-compose-test"
COMPOSE = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
RATE = re.compile(r"([\d,]+) calls/s .*members (\d+)")
UP_TIMEOUT_S = 300
RECOVERY_TIMEOUT_S = 60
"""A lease of 5 s, after a restart of Redis a quarantine of 8 s, and a slow machine."""


def main() -> int:
    """The whole sequence; the exit code."""
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)

    try:
        say("up: building the image, starting Redis, three members and the load driver")
        compose("up", "--build", "--detach", "--wait", "--wait-timeout", str(UP_TIMEOUT_S))
        say(f"load flows: {load_flows(members=3)}")

        victim = containers("member")[0]
        docker("kill", "--signal", "KILL", victim)
        say(f"kill -9: {victim}")
        say(f"load flows again: {load_flows(members=2)}")

        compose("restart", "redis")
        say("Redis restarted")
        say(f"load flows again: {load_flows(members=2)}")

        docker("start", victim)
        say(f"started again: {victim}")
        say(f"load flows: {load_flows(members=3)}")

        compose("stop", "load")
        verdict = logs("load").strip().splitlines()[-1]
        say(f"the load driver says: {verdict}")
        assert exit_code("load") == [0], f"the load driver ended with {exit_code('load')}"

        compose("stop", "member")
        codes = exit_code("member")
        say(f"members left with exit codes {codes}")
        assert codes == [0, 0, 0], f"137 means that a member was killed because it did not drain in time: {codes}"
    except (AssertionError, subprocess.CalledProcessError) as error:
        say(f"FAILED: {error}")
        print(compose("logs", "--tail", "40", check=False))
        return 1
    finally:
        compose("down", "--volumes", "--timeout", "5", check=False)
        say("down")
    say("compose works")
    return 0


def load_flows(*, members: int) -> str:
    """The next line of the driver with calls answered, none waiting for a member, and this many members known."""
    seen = len(rate_lines())

    def found() -> str | None:
        for line in rate_lines()[seen:]:
            match = RATE.search(line)
            if match and int(match[1].replace(",", "")) > 0 and int(match[2]) == members and "waiting" not in line:
                return line
        return None

    return until(found, f"calls answered by {members} members", RECOVERY_TIMEOUT_S)


def rate_lines() -> list[str]:
    """What the driver has printed so far."""
    return [line for line in logs("load").splitlines() if RATE.search(line)]


def until(condition: Callable[[], str | None], what: str, timeout_s: float) -> str:
    """The condition's first result."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


def containers(service: str) -> list[str]:
    """The names of a service's containers, also of those that have ended."""
    ids = compose("ps", "--all", "--quiet", service).split()
    return sorted(docker("inspect", "--format", "{{.Name}}", one).strip().lstrip("/") for one in ids)


def exit_code(service: str) -> list[int]:
    """How the containers of a service ended."""
    return [int(docker("inspect", "--format", "{{.State.ExitCode}}", name)) for name in containers(service)]


def logs(service: str) -> str:
    """Everything the service has written."""
    return compose("logs", "--no-color", "--no-log-prefix", service)


def compose(*arguments: str, check: bool = True) -> str:
    """Run docker-compose on our own project name, apart from one that somebody has running."""
    return _run([*COMPOSE, "--project-name", PROJECT, "--progress", "plain", *arguments], check)


def docker(*arguments: str) -> str:
    """Run docker."""
    return _run(["docker", *arguments], True)


def _run(command: list[str], check: bool) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
