"""A Redis Cluster: each shard's keys are in one slot, each slot on one node, and each node has its own client.

So trouble with one node is trouble for its shards only: its lanes, its breaker. Who serves a slot is asked of any
node that answers, by a task of its own: every few seconds, and at once after a redirection or a failure. A
redirection is followed; a failure is not repeated here, because whoever asked knows better whether to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import structlog
from redis import exceptions as redis_errors
from redis.crc import key_slot

from dbgrains.errors import StorageConfigError, StorageError, StorageUnavailableError
from dbgrains.redisio.client import START_ATTEMPTS, Check, RedisClient
from dbgrains.redisio.deployment import ClusterNodes
from dbgrains.redisio.lane import Command
from dbgrains.redisio.lookout import Lookout
from dbgrains.redisio.reply import as_text
from dbgrains.redisio.script import Script
from dbgrains.redisio.slots import Address, SlotMap, primaries_of

_LOOK_EVERY_S: Final = 5.0
REDIRECTIONS_MAX: Final = 4

log = structlog.get_logger()


class ClusterClient:
    """The ScriptClient of a Redis Cluster."""

    def __init__(self, nodes: ClusterNodes, *, timeout_s: float, needed: str, connections: int = 2) -> None:
        self._deployment = nodes
        self._timeout_s = timeout_s
        self._needed = needed
        self._connections = connections
        self._seeds = [(seed.host, seed.port) for seed in nodes.seeds]
        self._slots = SlotMap()
        self._clients: dict[Address, RedisClient] = {}
        self._check: Check | None = None
        self._checked: set[Address] = set()
        self._lookout = Lookout(self._look, every_s=_LOOK_EVERY_S, where=str(nodes))

    def start(self) -> None:
        self._lookout.start()

    async def stop(self) -> None:
        await self._lookout.stop()
        clients, self._clients = self._clients, {}
        await asyncio.gather(*(client.stop() for client in clients.values()))

    async def connect(self, check: Check) -> None:
        """Learn who serves what, and have every primary checked; and so each one that turns up later."""
        for attempt in range(1, START_ATTEMPTS + 1):
            error = await self._learn()
            if not self._slots.unserved:
                break
            if attempt == START_ATTEMPTS or isinstance(error, StorageConfigError):
                raise error or StorageUnavailableError(
                    f"redis: nobody serves {self._slots.unserved} slots of {self._deployment} "
                    f"(attempt {attempt}/{START_ATTEMPTS})"
                )
            await asyncio.sleep(self._timeout_s / 2)
        owners = self._slots.owners()
        await asyncio.gather(*(self._client(address).connect(check) for address in owners))
        self._checked |= owners
        self._check = check

    async def run(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[str | bytes | int] = (),
        *,
        weight: int = 1,
        lease: bool = False,
    ) -> Any:
        """The script's reply, from the node that serves its keys."""

        def command(client: RedisClient, asking: bool) -> Command:
            return client.script_command(script, keys, arguments, weight=weight, asking=asking)

        client, reply = await self._ask(_slot(keys[0]), command, lease=lease)
        if isinstance(reply, Exception):
            raise client.translated(reply) from reply
        return reply

    async def run_confirmed(
        self, script: Script, keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int] = ()
    ) -> tuple[Any, int]:
        """The script's reply, and how many replicas of that node have confirmed what it wrote."""

        def command(client: RedisClient, asking: bool) -> Command:
            return client.script_command(script, keys, arguments, asking=asking)

        client, reply = await self._ask(_slot(keys[0]), command, confirmed=True)
        return client.confirmation(reply)

    async def command(self, *words: str | bytes | int, lease: bool = False) -> Any:
        """The reply to a plain command whose second word is its key."""

        def command(client: RedisClient, asking: bool) -> Command:
            return Command(words, asking=asking)

        client, reply = await self._ask(_slot(words[1]), command, lease=lease)
        if isinstance(reply, Exception):
            raise client.translated(reply) from reply
        return reply

    async def _ask(
        self,
        slot: int,
        command: Callable[[RedisClient, bool], Command],
        *,
        lease: bool = False,
        confirmed: bool = False,
    ) -> tuple[RedisClient, Any]:
        """What the slot's node replies, and which that was. An error reply is returned, unless it is a redirection."""
        owner = self._slots.owner(slot)
        if owner is None:
            self._lookout.ask()
            raise StorageUnavailableError(f"redis: nobody is known to serve slot {slot} of {self._deployment}")
        client, asking = self._client(owner), False
        for _ in range(REDIRECTIONS_MAX):
            try:
                reply = await client.exchange(command(client, asking), lease=lease, confirmed=confirmed)
            except StorageUnavailableError:
                self._lookout.ask()
                raise
            verdict = reply[0] if confirmed else reply
            if not isinstance(verdict, Exception):
                return client, reply
            if not isinstance(verdict, redis_errors.AskError):
                if isinstance(verdict, redis_errors.ClusterDownError | redis_errors.ReadOnlyError):
                    self._lookout.ask()
                return client, reply
            address = (verdict.host or client.target.host, verdict.port)
            asking = not isinstance(verdict, redis_errors.MovedError)
            if not asking:
                self._slots.redirected(slot, address)
                self._lookout.ask()
            client = self._client(address)
        raise StorageUnavailableError(
            f"redis: slot {slot} of {self._deployment} was redirected {REDIRECTIONS_MAX} times"
        )

    def _client(self, address: Address) -> RedisClient:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = RedisClient(
                self._deployment.at(*address),
                timeout_s=self._timeout_s,
                needed=self._needed,
                connections=self._connections,
                in_cluster=True,
            )
            client.start()
        return client

    # --- the map ------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        if (error := await self._learn()) is not None:
            log.debug("the map of the redis cluster is not refreshed", error=str(error))
        await self._tend()

    async def _learn(self) -> StorageError | None:
        """Take the first answer of a node; the last error when there is none."""
        problem: StorageError | None = None
        for address in self._who_to_ask():
            client = self._client(address)
            try:
                text = await client.command("CLUSTER", "NODES", lease=True)
                self._slots.learn(primaries_of(as_text(text), address))
            except StorageConfigError as error:
                problem = _not_a_cluster(client) if "cluster support disabled" in str(error) else error
            except StorageError as error:
                problem = error
            else:
                return None
        return problem

    def _who_to_ask(self) -> Iterator[Address]:
        """Those that answer first, those that are away last; the seeds always, should all others be gone."""
        known = dict.fromkeys([*self._clients, *self._seeds])
        yield from sorted(known, key=lambda address: address in self._clients and self._clients[address].is_away)

    async def _tend(self) -> None:
        """Check nodes that are new, and forget those that serve nothing any more."""
        owners = self._slots.owners()
        for address in owners - self._checked:
            self._checked.add(address)
            self._lookout.spawn(self._inspect(address), name="redis check of a new node")
        for address in self._clients.keys() - owners - set(self._seeds):
            self._checked.discard(address)
            await self._clients.pop(address).stop()

    async def _inspect(self, address: Address) -> None:
        check, client = self._check, self._client(address)
        if check is None:
            self._checked.discard(address)
            return
        try:
            await check(client)
        except StorageUnavailableError:
            self._checked.discard(address)
        except StorageError as error:
            log.error("a redis node is not fit for leases", server=str(client.target), error=str(error))
        else:
            log.info("another redis node serves slots now", server=str(client.target))

    def __repr__(self) -> str:
        return f"ClusterClient({self._deployment}, nodes={len(self._clients)})"


def _slot(key: str | bytes | int) -> int:
    raw = key if isinstance(key, bytes) else str(key).encode()
    return int(key_slot(raw))


def _not_a_cluster(client: RedisClient) -> StorageConfigError:
    return StorageConfigError(f"redis: {client.target} is no node of a Redis Cluster; use redis://host:port for it")
