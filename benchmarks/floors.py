"""The least that a local request can cost: the parts underneath, bare, with no promises kept.

`BareActors` is the fastest way known to us of running turns one at a time per actor when turns may wait: a dict, a
deque per actor that exists only while messages wait, and a shared pool of worker tasks. It has no supervision, no
deadlines, no overload protection and no identity beyond a number.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Handler = Callable[[object], Awaitable[object]]


async def nothing(message: object) -> object:
    """A handler that cannot get any cheaper."""
    return message


async def await_in_a_loop(operations: int) -> None:
    """`await coroutine()`, again and again: what a call costs when there is no actor at all."""
    for number in range(operations):
        await nothing(number)


class BareActors:
    """A dict of deques and a pool of workers."""

    def __init__(self, handler: Handler, workers: int = 64) -> None:
        self._handler = handler
        self._boxes: dict[int, deque[tuple[object, asyncio.Future[object]]]] = {}
        self._ready: deque[int] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._work()) for _ in range(workers)]

    def call(self, actor: int, message: object) -> asyncio.Future[object]:
        """Queue a message; the future gets the handler's result."""
        reply: asyncio.Future[object] = self._loop.create_future()
        box = self._boxes.get(actor)
        if box is None:
            self._boxes[actor] = deque([(message, reply)])
            self._ready.append(actor)
            if self._idle:
                self._idle.popleft().set_result(None)
        else:
            box.append((message, reply))
        return reply

    async def stop(self) -> None:
        """End the workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _work(self) -> None:
        ready, boxes, handler = self._ready, self._boxes, self._handler
        while True:
            while ready:
                actor = ready.popleft()
                box = boxes[actor]
                while box:
                    message, reply = box.popleft()
                    reply.set_result(await handler(message))
                del boxes[actor]
            woken = self._loop.create_future()
            self._idle.append(woken)
            await woken
