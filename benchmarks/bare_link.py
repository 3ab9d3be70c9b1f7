"""The least that a request to another process can cost: one bidirectional gRPC stream, batched, and nothing else.

Frames are a count, the request numbers and the payloads, put together with `struct` and `bytes.join`. The writer takes
all that is queued, writes it as one frame, and repeats: backpressure makes the batches. The server sends every payload
back. `python -m benchmarks.bare_link` is the server; it announces its port and ends with its parent.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections import deque
from collections.abc import AsyncIterator, Sequence

import grpc.aio
import uvloop

from dbgrains.testing.member_process import MemberProcess, announce, parent_gone

METHOD = "/benchmarks.BareLink/Exchange"
COUNT_MAX = 512
BYTES_MAX = 128 * 1024


def encode(numbers: Sequence[int], payloads: Sequence[bytes]) -> bytes:
    """One frame; all payloads have the same length."""
    size = len(payloads[0])
    return struct.pack(f"<II{len(numbers)}Q", len(numbers), size, *numbers) + b"".join(payloads)


def decode(frame: bytes) -> tuple[tuple[int, ...], list[bytes]]:
    """What `encode` was given."""
    count, size = struct.unpack_from("<II", frame)
    start = 8 + 8 * count
    payloads = [frame[at : at + size] for at in range(start, start + count * size, size)]
    return struct.unpack_from(f"<{count}Q", frame, 8), payloads


class BareLink:
    """The client's end of the stream."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._stream = self._channel.stream_stream(METHOD, None, None)(None)
        self._outbox: deque[tuple[int, bytes]] = deque()
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = itertools.count()
        self._queued = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._write()), self._loop.create_task(self._read())]

    def request(self, payload: bytes) -> asyncio.Future[bytes]:
        """Send `payload`; the future gets it back."""
        number = next(self._numbers)
        reply: asyncio.Future[bytes] = self._loop.create_future()
        self._pending[number] = reply
        self._outbox.append((number, payload))
        self._queued.set()
        return reply

    async def close(self) -> None:
        """End the stream, politely: a cancelled one makes the server log."""
        await self._stream.done_writing()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._channel.close(None)

    async def _write(self) -> None:
        while True:
            await self._queued.wait()
            self._queued.clear()
            while self._outbox:
                numbers, payloads, size = list[int](), list[bytes](), 0
                while self._outbox and len(numbers) < COUNT_MAX and size < BYTES_MAX:
                    number, payload = self._outbox.popleft()
                    numbers.append(number)
                    payloads.append(payload)
                    size += len(payload)
                await self._stream.write(encode(numbers, payloads))

    async def _read(self) -> None:
        async for frame in self._stream:
            numbers, payloads = decode(frame)
            for number, payload in zip(numbers, payloads, strict=True):
                self._pending.pop(number).set_result(payload)


async def start_server() -> MemberProcess:
    """A server process for `BareLink`s; its announcement holds the port."""
    return await MemberProcess.start("benchmarks.bare_link")


async def _exchange(frames: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
    async for frame in frames:
        numbers, payloads = decode(frame)
        yield encode(numbers, payloads)


async def serve() -> None:
    """Serve until the parent ends."""
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(_exchange)
    service, _, method = METHOD.strip("/").partition("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(port=port)
    await parent_gone()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve())
