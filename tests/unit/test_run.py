"""A member process: what ends it, and with which exit code. The second signal is in tests/multiprocess."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from dbgrains import Cluster, ClusterState, ConfigError, DbgrainsError, SingleNodeLookup, StorageUnavailableError
from dbgrains.cluster.interfaces import ClusterServices
from dbgrains.run import EXIT_LEFT, EXIT_MISCONFIGURED, EXIT_STOPPED, EXIT_UNAVAILABLE, GC_THRESHOLD, run, serve
from tests.waiting import until


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(name="served", lookup=SingleNodeLookup())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_makes_the_member_leave(cluster: Cluster, number: signal.Signals):
    serving = asyncio.create_task(serve(cluster))
    await until(lambda: cluster.state is ClusterState.RUNNING)

    os.kill(os.getpid(), number)

    assert await serving == EXIT_LEFT
    assert cluster.state is ClusterState.STOPPED


async def test_the_signals_have_their_former_meaning_afterwards(cluster: Cluster):
    before = signal.getsignal(signal.SIGINT)
    serving = asyncio.create_task(serve(cluster))
    await until(lambda: cluster.state is ClusterState.RUNNING)

    os.kill(os.getpid(), signal.SIGTERM)
    await serving

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) in (before, signal.default_int_handler)


async def test_the_member_leaves_when_what_it_was_to_wait_for_has_come(cluster: Cluster):
    states: list[ClusterState] = []

    async def the_end(joined: Cluster) -> None:
        states.append(joined.state)

    assert await serve(cluster, until=the_end) == EXIT_LEFT
    assert states == [ClusterState.RUNNING]
    assert cluster.state is ClusterState.STOPPED


async def test_an_error_of_what_it_waits_for_is_raised_after_it_has_left(cluster: Cluster):
    async def fail(_: Cluster) -> None:
        raise ValueError("the parent sent nonsense")

    with pytest.raises(ValueError, match="nonsense"):
        await serve(cluster, until=fail)
    assert cluster.state is ClusterState.STOPPED


async def test_a_system_that_stops_by_itself_is_another_exit_code(cluster: Cluster):
    serving = asyncio.create_task(serve(cluster))
    await until(lambda: cluster.state is ClusterState.RUNNING)

    await cluster.system.shutdown()

    assert await serving == EXIT_STOPPED


class Unwilling(SingleNodeLookup):
    """A lookup that fails to start, or never does."""

    def __init__(self, error: DbgrainsError | None) -> None:
        super().__init__()
        self.error = error
        self.asked = asyncio.Event()

    async def start(self, services: ClusterServices) -> None:
        self.asked.set()
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("error", "code"),
    [(StorageUnavailableError("away"), EXIT_UNAVAILABLE), (ConfigError("port 1 is in use"), EXIT_MISCONFIGURED)],
)
def test_the_exit_code_says_why_a_member_could_not_join(error: DbgrainsError, code: int):
    with capture_logs() as logs:
        assert run(Cluster(name="served", lookup=Unwilling(error))) == code

    assert [str(error) in log["error"] for log in logs if log["event"] == "member could not join"] == [True]


def test_an_error_after_it_has_joined_is_raised():
    async def fail(_: Cluster) -> None:
        raise StorageUnavailableError("gone")

    with pytest.raises(StorageUnavailableError):
        run(Cluster(name="served", lookup=SingleNodeLookup()), until=fail)


async def test_a_signal_while_it_joins_ends_that():
    lookup = Unwilling(None)
    serving = asyncio.create_task(serve(Cluster(name="served", lookup=lookup)))
    await lookup.asked.wait()

    os.kill(os.getpid(), signal.SIGTERM)

    assert await serving == EXIT_LEFT


def test_garbage_is_collected_seldom_while_a_process_is_a_member(cluster: Cluster):
    before, seen = gc.get_threshold(), []

    async def look(_: Cluster) -> None:
        seen.append((gc.get_threshold(), gc.get_freeze_count() > 10_000))

    run(cluster, until=look)

    assert seen == [(GC_THRESHOLD, True)]
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


DEAF = """
import asyncio, signal

from dbgrains import Cluster, ClusterConfig, ClusterKind, Props, RequestError, SingleNodeLookup, run

begun = asyncio.Event()

async def deaf(context):
    while context.message == "begin":
        begun.set()
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            pass

async def leave(cluster):
    call = asyncio.ensure_future(cluster.request("x", "deaf", "begin", timeout=60))
    await begun.wait()
    {end}
    await call

kind = ClusterKind("deaf", Props.from_function(deaf))
config = ClusterConfig(shutdown_timeout_s=0.5)
raise SystemExit(run(Cluster(name="served", lookup=SingleNodeLookup(), kinds=[kind], config=config), until=leave))
"""


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("signal.raise_signal(signal.SIGTERM)", EXIT_LEFT, "ending the process"),
        ("raise ValueError('nonsense')", EXIT_STOPPED, "nonsense"),
    ],
)
def test_a_process_ends_although_a_turn_ignores_its_cancellation(end: str, code: int, said: str):
    script = DEAF.replace("{end}", end)

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == code, ended.stderr
    assert said in ended.stdout
