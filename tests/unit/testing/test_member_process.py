"""Child processes get ready, are steered by signals, and never outlive their parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from dbgrains.testing.member_process import MemberProcess, ProcessFailedError
from tests.waiting import until

CHILD = """
    import asyncio, os, sys
    from dbgrains.testing.member_process import announce, parent_gone

    async def main():
        print("starting", file=sys.stderr)
        announce(pid=os.getpid(), arguments=sys.argv[1:])
        await parent_gone()

    asyncio.run(main())
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a child's program and returns the name to start it by."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))

    def write(source: str) -> str:
        (tmp_path / "child.py").write_text(textwrap.dedent(source))
        return "child"

    return write


async def test_a_child_announces_itself_and_leaves_when_it_is_told(module):
    async with await MemberProcess.start(module(CHILD), "--name", "a") as child:
        assert child.announcement == {"pid": child.pid, "arguments": ["--name", "a"]}
        assert child.exit_code is None

    assert child.exit_code == -signal.SIGTERM
    assert child.output == "starting"


async def test_a_killed_child_is_gone_at_once(module):
    async with await MemberProcess.start(module(CHILD)) as child:
        child.kill()

        assert await child.wait(5) == -signal.SIGKILL


async def test_a_paused_child_stands_still_until_it_is_resumed(module):
    async with await MemberProcess.start(module(CHILD)) as child:
        process = psutil.Process(child.pid)

        child.pause()
        await until(lambda: process.status() == psutil.STATUS_STOPPED)
        child.resume()

        await until(lambda: process.status() != psutil.STATUS_STOPPED)


async def test_a_child_that_is_paused_is_still_ended_by_the_context(module):
    async with await MemberProcess.start(module(CHILD)) as child:
        child.pause()

    assert child.exit_code is not None


async def test_a_child_that_ends_before_it_is_ready_is_an_error_with_its_last_words(module):
    with pytest.raises(ProcessFailedError, match=r"ended with 3 before it was ready(?s:.*)the port is taken"):
        await MemberProcess.start(module("import sys; print('the port is taken', file=sys.stderr); sys.exit(3)"))


async def test_a_child_that_is_never_ready_is_killed(module):
    slow = "import os, time; print('my pid', os.getpid(), flush=True); time.sleep(600)"

    with pytest.raises(ProcessFailedError, match=r"not ready within 1 s(?s:.*)my pid (\d+)") as caught:
        await MemberProcess.start(module(slow), ready_timeout_s=1)

    assert not psutil.pid_exists(int(str(caught.value).rpartition("my pid ")[2]))


async def test_a_child_that_ignores_the_request_to_leave_is_killed(module):
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + textwrap.dedent(CHILD)

    async with await MemberProcess.start(module(stubborn), terminate_timeout_s=0.2) as child:
        pass

    assert child.exit_code == -signal.SIGKILL


async def test_a_child_ends_when_its_parent_is_killed(module):
    child_module = module(CHILD)
    parent = textwrap.dedent(f"""
        import asyncio
        from dbgrains.testing.member_process import MemberProcess

        async def main():
            child = await MemberProcess.start({child_module!r})
            print(child.pid, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        child_pid = int(await asyncio.to_thread(process.stdout.readline))

        process.kill()

    await until(lambda: not psutil.pid_exists(child_pid) or psutil.Process(child_pid).status() == "zombie")
