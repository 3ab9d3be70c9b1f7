"""Sending: what an actor's context and the root's context have in common.

A request to an actor of this process that is idle and cannot wait is run right here, in the caller's step. Every
64th such request lets the event loop breathe first: a loop of requests that never wait would starve everything
else in the process.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from dbgrains.actor.cell import Cell
from dbgrains.actor.envelope import Envelope
from dbgrains.actor.future import Future
from dbgrains.actor.messages import POISON_PILL, Stop, Unwatch, Watch
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo, Sender
from dbgrains.actor.turn import NOT_INLINE
from dbgrains.config import REQUEST_TIMEOUT_S_MAX, check_positive

if TYPE_CHECKING:
    from dbgrains.actor.props import SenderContext, SenderNext
    from dbgrains.actor.system import ActorSystem

INLINE_BUDGET: Final = 64
"""Requests that may run in their callers' steps before one of the callers gives the loop a turn."""


def checked_timeout(system: ActorSystem, timeout: float | None) -> float:
    """`timeout`, or the configured one for None; ConfigError for what is no time."""
    if timeout is None:
        return system.config.request_timeout_s
    if type(timeout) is float and 0.0 < timeout <= REQUEST_TIMEOUT_S_MAX:
        return timeout
    return check_positive("timeout", timeout, maximum=REQUEST_TIMEOUT_S_MAX)


def deliver(context: SenderContext, target: PID | ReplyTo, envelope: Envelope) -> None:
    """The innermost `next` of sender middleware: hand the envelope over."""
    if isinstance(target, ReplyTo):
        target.reply(envelope.message, envelope.headers)
    else:
        context.system.registry.resolve(target).post_user(*envelope)


def send(
    context: SenderContext,
    chain: SenderNext | None,
    target: PID | ReplyTo,
    message: object,
    sender: Sender,
    headers: Headers | None,
    deadline: float | None = None,
) -> None:
    """Send, through `chain` if there is one. Never waits."""
    if chain is not None:
        chain(context, target, Envelope(message, sender, headers, deadline))
    elif isinstance(target, ReplyTo):
        target.reply(message, headers)
    else:
        context.system.registry.resolve(target).post_user(message, sender, headers, deadline)


async def send_wait(
    context: SenderContext, target: PID, message: object, sender: Sender, headers: Headers | None, timeout: float | None
) -> None:
    """Send, and wait for room if the target's mailbox has the policy to make senders wait."""
    system = context.system
    deadline = system.clock.now() + checked_timeout(system, timeout)
    process = system.registry.resolve(target)
    if isinstance(process, Cell):
        await process.post_user_waiting(message, sender, headers, deadline)
    else:
        process.post_user(message, sender, headers, deadline)


def request_future(
    context: SenderContext,
    chain: SenderNext | None,
    target: PID,
    message: object,
    headers: Headers | None,
    timeout: float | None,
) -> Future:
    """Send a request; the answer comes to the future."""
    system = context.system
    future = Future(system, target, type(message), checked_timeout(system, timeout))
    send(context, chain, target, message, future, headers, future.deadline)
    return future


async def request(
    context: SenderContext,
    chain: SenderNext | None,
    target: PID,
    message: object,
    headers: Headers | None,
    timeout: float | None,
) -> Any:
    """Send a request and wait for the answer."""
    system = context.system
    if timeout is None:
        timeout = system.config.request_timeout_s
    elif type(timeout) is not float or not 0.0 < timeout <= REQUEST_TIMEOUT_S_MAX:
        timeout = check_positive("timeout", timeout, maximum=REQUEST_TIMEOUT_S_MAX)
    process = system.registry.resolve(target)
    if chain is not None or not isinstance(process, Cell):
        return await answer_of(request_future(context, chain, target, message, headers, timeout))
    system.inline_left -= 1
    if system.inline_left <= 0:
        system.inline_left = INLINE_BUDGET
        answer = await call_and_breathe(process, message, headers)
    else:
        answer = await process.call(message, headers)
    if answer is NOT_INLINE:
        answer = Future(system, target, type(message), timeout)
        if process.props.mailbox is not None:
            await process.post_user_waiting(message, answer, headers, answer.deadline)
        else:
            process.post_user(message, answer, headers, answer.deadline)
    elif type(answer) is Future:
        answer.expire_after(timeout)
    else:
        return answer
    try:
        return await answer.asyncio_future
    except asyncio.CancelledError:
        answer.cancel()
        raise


async def call_and_breathe(cell: Cell, message: object, headers: Headers | None) -> Any:
    """Call, and then let the loop turn: not before, or a later request of this caller would get in front."""
    try:
        answer = await cell.call(message, headers)
    except BaseException:
        await asyncio.sleep(0)
        raise
    if answer is not NOT_INLINE:
        await asyncio.sleep(0)
    return answer


async def answer_of(future: Future) -> Any:
    """Await `future`; a caller that is cancelled withdraws its request if it has not started."""
    try:
        return await future
    except asyncio.CancelledError:
        future.cancel()
        raise


def stop(system: ActorSystem, target: PID) -> None:
    """Stop after the current turn."""
    system.registry.resolve(target).post_system(Stop())


def poison(system: ActorSystem, target: PID) -> None:
    """Stop after everything that is queued already."""
    system.registry.resolve(target).post_user(POISON_PILL)


async def gone(system: ActorSystem, target: PID, timeout: float | None, *, poisoned: bool) -> None:
    """Stop or poison, and wait until the actor has stopped; RequestTimeoutError when it takes longer."""
    timeout = system.config.stop_timeout_s if timeout is None else checked_timeout(system, timeout)
    future = Future(system, target, None, timeout)
    watcher = future.pid()
    system.registry.resolve(target).post_system(Watch(watcher))
    try:
        if poisoned:
            poison(system, target)
        else:
            stop(system, target)
        await answer_of(future)
    except BaseException:
        system.registry.resolve(target).post_system(Unwatch(watcher))
        raise
