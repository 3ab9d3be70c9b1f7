"""Members as operating system processes: what a test of a crash needs, and what the demo kills.

A child is any module run with `python -m` that calls `announce` once it is ready, which writes one line of JSON to its
standard output, and that ends when its standard input does (`parent_gone`). So a child never outlives its parent,
however that one ended, and signals of the terminal don't reach it.

Children are started by `subprocess`, not by the event loop: uvloop forks, and a process in which gRPC runs doesn't
survive that reliably (the child may crash before it begins), while `subprocess` never runs our code in the child.

Nothing here knows about clusters; `dbgrains.run` is how a member process runs one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Final, Self

from dbgrains.errors import DbgrainsError

OUTPUT_LINES_MAX: Final = 200
"""How much of a child's output is kept for the text of an error."""

LINE_BYTES_MAX: Final = 1024 * 1024


class ProcessFailedError(DbgrainsError):
    """A child ended, or did not get ready in time; the text holds the end of what it wrote."""


class MemberProcess:
    """One child process. `async with` ends it, whatever state it is in.

    The context gives it the chance to leave (SIGTERM) and kills it when it doesn't take that in time.
    """

    def __init__(self, process: subprocess.Popen[bytes], name: str, terminate_timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._process = process
        self._name = name
        self._terminate_timeout_s = terminate_timeout_s
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES_MAX)
        self._ready: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._exited: asyncio.Future[int] = loop.create_future()
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self._announced)),
            asyncio.create_task(self._read(process.stderr, None)),
        ]
        threading.Thread(
            target=self._wait_in_thread, args=(loop,), name=f"waits for {process.pid}", daemon=True
        ).start()
        self.announcement: dict[str, Any] = {}
        """What the child told when it was ready."""

    @classmethod
    async def start(
        cls,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
        ready_timeout_s: float = 30.0,
        terminate_timeout_s: float = 20.0,
    ) -> Self:
        """Run `python -m module arguments...` and wait until it announces itself; ProcessFailedError otherwise.

        `launcher` stands before it on the command line and must become it by exec, as `ip netns exec NAME` does.
        """
        process = _spawn(module, arguments, environment or {}, launcher)
        child = cls(process, " ".join([module, *arguments]), terminate_timeout_s)
        try:
            async with asyncio.timeout(ready_timeout_s):
                child.announcement = await child._ready
        except TimeoutError:
            await child._end_now()
            raise ProcessFailedError(child._text(f"was not ready within {ready_timeout_s:g} s")) from None
        except BaseException:
            await child._end_now()
            raise
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._exited.result() if self._exited.done() else None

    @property
    def output(self) -> str:
        """The end of what it wrote to its standard output and error."""
        return "\n".join(self._output)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended takes none."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: it ends between two instructions."""
        self.send_signal(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it stands still, its connections stay open."""
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it goes on and knows nothing of the pause."""
        self.send_signal(signal.SIGCONT)

    async def wait(self, timeout_s: float) -> int:
        """Its exit code, once it has ended; TimeoutError when it runs longer."""
        async with asyncio.timeout(timeout_s):
            code = await self._end_of_process()
            await asyncio.wait(self._readers)
        return code

    async def terminate(self) -> int:
        """SIGTERM, and SIGKILL when it takes longer than it may; its exit code."""
        self.send_signal(signal.SIGTERM)
        try:
            return await self.wait(self._terminate_timeout_s)
        except TimeoutError:
            return await self._end_now()

    async def _end_now(self) -> int:
        self.kill()
        code = await self._end_of_process()
        # A grandchild that kept the pipes open would keep the readers: it is not ours to wait for.
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._ready.cancel()
        return code

    async def _end_of_process(self) -> int:
        code = await asyncio.shield(self._exited)
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop was closed while the process still ran
            loop.call_soon_threadsafe(self._exited.set_result, code)

    async def _read(self, pipe: IO[bytes] | None, first: Callable[[str], bool] | None) -> None:
        assert pipe is not None
        loop = asyncio.get_running_loop()
        stream = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
        try:
            while True:
                try:
                    raw = await stream.readline()
                except ValueError:
                    continue  # longer than a line may be, and gone
                if not raw:
                    break
                line = raw.decode(errors="replace").rstrip()
                if first is not None and not self._ready.done() and first(line):
                    continue
                self._output.append(line)
        finally:
            transport.close()
        if first is not None and not self._ready.done():
            code = await asyncio.shield(self._exited)
            await asyncio.wait(self._readers[1:], timeout=1)  # its last words come by the other pipe
            self._ready.set_exception(ProcessFailedError(self._text(f"ended with {code} before it was ready")))

    def _announced(self, line: str) -> bool:
        try:
            announcement = json.loads(line)
        except ValueError:
            return False
        if not isinstance(announcement, dict):
            return False
        self._ready.set_result(announcement)
        return True

    def _text(self, what: str) -> str:
        said = f"; the end of its output:\n{self.output}" if self._output else "; it wrote nothing"
        return f"process {self._name!r} (pid {self.pid}) {what}{said}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.resume()  # a paused process takes no SIGTERM
        await self.terminate()

    def __repr__(self) -> str:
        state = "running" if self.exit_code is None else f"ended with {self.exit_code}"
        return f"MemberProcess({self._name!r}, pid={self.pid}, {state})"


def _spawn(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], launcher: Sequence[str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*launcher, sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONFAULTHANDLER": "1", **environment},
        start_new_session=True,
    )


def announce(**facts: Any) -> None:
    """In the child: say that it is ready, and what the parent should know."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def parent_gone() -> None:
    """In the child: returns when the parent has closed our standard input, at the latest by ending itself."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while await reader.read(4096):
            pass
    finally:
        transport.close()
