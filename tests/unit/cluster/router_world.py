"""What a router is given in its tests: a lookup that names members, and a remote that keeps what would leave."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dbgrains import (
    ActorSystem,
    ClusterConfig,
    ClusterNotRunningError,
    Grain,
    Member,
    UnreachableError,
    idempotent,
    readonly,
)
from dbgrains.cluster.call import ClusterCall
from dbgrains.cluster.member_list import MemberList
from dbgrains.cluster.pid_cache import PidCache
from dbgrains.cluster.request import RequestPath
from dbgrains.cluster.router import Router
from dbgrains.remote.outbox import fail

ME, A, B = (Member(name, f"{name}:1", frozenset({"user"})) for name in ("me.0", "a.0", "b.0"))
CONFIG = ClusterConfig(retry_min_s=0.001, retry_max_s=0.01)


@dataclass
class Sent:
    """One attempt that left."""

    member_id: str
    target: str
    call: ClusterCall

    @property
    def message(self) -> object:
        return self.call.message


class FakeRemote:
    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.cancelled: list[int] = []
        self.dead: set[str] = set()
        self.new_id = itertools.count(1).__next__

    def post_request(self, address, member_id, target, message, call, deadline, headers) -> int:
        if member_id in self.dead:
            call.fail(UnreachableError(f"{member_id} is dead"))
            return 0
        self.sent.append(Sent(member_id, target, call))
        return self.new_id()

    def cancel_request(self, address, member_id, request_id) -> None:
        self.cancelled.append(request_id)

    def take(self) -> list[Sent]:
        taken, self.sent = self.sent, []
        return taken


class FakeLookup:
    """Names the first member that is not to be avoided."""

    def __init__(self) -> None:
        self.members = [A, B]
        self.asked = 0

    async def locate(self, identity, avoid) -> Member | None:
        self.asked += 1
        return next((m for m in self.members if m.id not in avoid), self.members[0] if self.members else None)


class SlowLookup(FakeLookup):
    async def locate(self, identity, avoid) -> Member | None:
        await asyncio.sleep(0)
        return await super().locate(identity, avoid)


class NobodyHere:
    starts_at_once = False

    def find(self, kind, identity) -> None:
        return None

    def is_pending(self, kind, identity) -> bool:
        return False


class Request:
    """What the outbox holds of one: who waits, and how to tell them."""

    def __init__(self, request_id: int, message: object, waiting: tuple) -> None:
        self.request_id = request_id
        self.message = message
        self.answer = waiting[0]
        self._waiting = waiting

    def reply(self, message: object) -> None:
        if not self.answer.done():
            self.answer.set_result(message)

    def fail(self, error: Exception) -> None:
        fail(self._waiting, self.request_id, error)


class Endpoint:
    """What leads to one member; its outbox is the remote's list."""

    def __init__(self, remote: RemoteWithEndpoints, member_id: str) -> None:
        self._remote = remote
        self._member_id = member_id
        self.down: str | None = None

    @property
    def outbox(self) -> Endpoint:
        return self

    def request(self, target, message, call, deadline, headers) -> int:
        request = Request(self._remote.new_id(), message, call)
        self._remote.sent.append(Sent(self._member_id, target, request))
        return request.request_id


class RemoteWithEndpoints(FakeRemote):
    def __init__(self) -> None:
        super().__init__()
        self.endpoints: dict[str, Endpoint] = {}

    def endpoint(self, address, member_id) -> Endpoint | None:
        endpoint = self.endpoints.setdefault(member_id, Endpoint(self, member_id))
        return endpoint if endpoint.down is None else None


class Till(Grain, kind="user"):
    """What calls of methods are of."""

    async def pay(self) -> None: ...

    @idempotent
    async def close(self) -> None: ...

    @readonly
    async def total(self) -> int:
        return 0


def call_of(method: str) -> object:
    """The message of a call of one of its methods."""
    return Till.contract().methods[method].call(())


class Caller(RequestPath):
    """The calling side alone, with `user/1` remembered to be on b.0."""

    def __init__(self, remote: RemoteWithEndpoints | None = None) -> None:
        super().__init__(request_timeout_s=5.0)
        self.sent = remote or RemoteWithEndpoints()
        self.actors = ActorSystem("test")
        self.cache = PidCache(100, 60.0, self.actors.clock.now)
        self._router = self.router = Router(
            self.actors, ME, CONFIG, lookup=FakeLookup(), cache=self.cache,
            members=MemberList(self.actors.clock.now, lambda change: None),
            activator=NobodyHere(), remote=self.sent,
        )  # fmt: skip
        self._routes, self._places = self.router.routes, self.cache.places
        self.cache.put("user", "1", "b:1", "b.0")

    def ask(self, message: object, timeout: float = 5.0) -> asyncio.Task[object]:
        return asyncio.ensure_future(self.request("1", "user", message, timeout))


@asynccontextmanager
async def running(caller: Caller) -> AsyncIterator[Caller]:
    """A caller that is closed in the end."""
    try:
        yield caller
    finally:
        await caller.router.close(ClusterNotRunningError("the end"))
        await caller.actors.shutdown()
