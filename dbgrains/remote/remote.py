"""Remote: what the rest of the package uses to reach other processes.

Give it a system, start it with a hello, and PIDs of other processes can be sent to like local ones. The cluster
posts its requests here directly (`post_request`), because a warm call to another member must cost one dict
lookup and one append to an outbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog
from google.protobuf.internal import api_implementation

from dbgrains.actor.messages import Unwatch, Watch
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, Process, ReplyTo
from dbgrains.config import RemoteConfig
from dbgrains.errors import (
    AlreadyStartedError,
    ConfigError,
    MessageError,
    OverloadedError,
    RequestError,
    SerializationError,
)
from dbgrains.remote import addresses, spawn
from dbgrains.remote.acceptor import Acceptor
from dbgrains.remote.block_list import BlockedMember, BlockList
from dbgrains.remote.endpoint import Endpoint, Surroundings
from dbgrains.remote.endpoint_manager import EndpointManager
from dbgrains.remote.grpc_transport import GrpcTransport
from dbgrains.remote.handshake import Hello, Lane
from dbgrains.remote.health import Health
from dbgrains.remote.inbound import Inbound
from dbgrains.remote.outbox import Outbox, check_names
from dbgrains.remote.remote_process import RemoteProcess
from dbgrains.remote.serializer import Serializers
from dbgrains.remote.statistics import RemoteStatistics
from dbgrains.remote.transport import Listener, Transport
from dbgrains.remote.watch import PeerKey, RemoteWatches

if TYPE_CHECKING:
    from dbgrains.actor.props import Props
    from dbgrains.actor.system import ActorSystem

_DRAIN_POLL_S: Final = 0.005

log = structlog.get_logger()


class Remote:
    """The links of one system to other processes."""

    def __init__(
        self,
        system: ActorSystem,
        config: RemoteConfig | None = None,
        transport: Transport | None = None,
        serializers: Serializers | None = None,
    ) -> None:
        """Raises ConfigError for certificates that cannot be used. Nothing is bound before `start`."""
        self.system = system
        self.config = config or RemoteConfig()
        self.health = Health()
        self.serializers = serializers or Serializers(message_bytes_max=self.config.message_bytes_max)
        self.block_list = BlockList(system.clock.wall, self._blocked)
        self._statistics = RemoteStatistics()
        self._spawner = spawn.Spawner(system)
        spawn.register_messages(self.serializers)
        self._watches = RemoteWatches(system.registry.get, self._stay_in_touch)
        self._inbound = Inbound(system, self.serializers, self._statistics, self._watches)
        self._transport = transport or GrpcTransport(self.config, self.health)
        self._around = Surroundings(
            system, self.config, self._transport, self._inbound, self._own_hello, self._connected, self._terminated,
            self._near_deadline,
        )  # fmt: skip
        self._endpoints = EndpointManager(self._around, self._watches)
        self._data = self._endpoints.data
        self._hello = Hello()
        self._listener: Listener | None = None
        self._started = False
        self._stopped = False

    async def start(self, hello: Hello | None = None) -> str:
        """Bind (unless `hello.address` is a client's), make foreign PIDs reachable, and return the own address.

        What `hello` leaves empty is filled in: the address that was bound, the system's id. Raises ConfigError
        when the address cannot be used or bound.
        """
        if self._started:
            raise AlreadyStartedError("this Remote was started before; one object starts once")
        self._started = True
        self._inbound.start()
        hello = hello or Hello()
        hello = replace(hello, member_id=hello.member_id or self.system.id)
        if api_implementation.Type() == "python":
            raise ConfigError(
                "protobuf runs in pure Python, which is no parser for the network; install its C extension"
            )
        if hello.is_client:
            address = hello.address
        else:
            self._check_exposure()
            acceptor = Acceptor(self._around, self._endpoints)
            self._listener = await self._transport.serve(self.config.host, self.config.port, acceptor.accept)
            host = self.config.advertised_host or self.config.host
            address = hello.address or addresses.join(host, self.config.advertised_port or self._listener.port)
        self._become(replace(hello, address=address))
        self.system.registry.remote = self.process_for
        self.system.registry.add(spawn.SPAWNER_ID, self._spawner)
        self.system.on_shutdown(self.stop)
        self.health.set_serving(True)
        log.info(
            "remote started", cluster=hello.cluster, member=hello.member_id, address=address,
            tls=self.config.tls is not None,
        )  # fmt: skip
        return address

    async def rejoin(self, hello: Hello) -> None:
        """Go on as another incarnation at the same address: all streams of the old one end.

        Peers must dial the new member id; what the old incarnation had under way has failed.
        """
        await self._endpoints.reset("this process joined again as a new incarnation")
        for link in list(self._around.links):
            link.close("this process joined again as a new incarnation")
        self._become(replace(hello, address=hello.address or self._hello.address))

    async def stop(self, reason: str = "the process is stopping") -> None:
        """Say goodbye, let what is queued leave and what runs be answered, within `drain_timeout_s`; then end.

        Stopping twice is once.
        """
        if self._stopped or not self._started:
            self._stopped = True
            return
        self._stopped = True
        self.health.set_serving(False)
        self._inbound.leaving = True
        for link in list(self._around.links):
            link.say_goodbye(reason)
        loop = asyncio.get_running_loop()
        end = loop.time() + self.config.drain_timeout_s
        while loop.time() < end and not self._is_drained():
            await asyncio.sleep(_DRAIN_POLL_S)
        await self._endpoints.stop(reason)
        for link in list(self._around.links):
            link.close(reason)
        if self._listener is not None:
            await self._listener.stop(self.config.drain_timeout_s if self._around.links else 0.0)
        await self._transport.close()
        self.system.registry.remote = None
        self.system.registry.remove(spawn.SPAWNER_ID)
        log.info("remote stopped", cluster=self._hello.cluster, member=self._hello.member_id, reason=reason)

    @property
    def new_id(self) -> Callable[[], int]:
        """Numbers that grow and never come twice; requests have theirs from here."""
        return self._around.new_id

    @property
    def hello(self) -> Hello:
        """Who this process says it is."""
        return self._hello

    @property
    def statistics(self) -> RemoteStatistics:
        """A snapshot of the counters."""
        return replace(self._statistics)

    def post_request(
        self,
        address: str,
        member_id: str,
        target: str,
        message: object,
        call: ReplyTo,
        deadline: float | None = None,
        headers: Headers | None = None,
        lane: Lane = Lane.DATA,
    ) -> int:
        """Send a request to process `target` at a peer. Never waits and never raises; `call` gets its end exactly
        once: the answer, the error the other side gave, or what became of the link. `deadline` is in `Clock.now` time.

        Returns the request's id for `cancel_request`, 0 when it has failed already.
        """
        endpoint = self._data.get((address, member_id)) if lane is Lane.DATA else None
        if endpoint is None:
            try:
                endpoint = self._endpoints.find(address, member_id, lane)
            except RequestError as error:
                call.fail(error)
                return 0
        if endpoint.down is None:
            try:
                check_names(target, None)
            except MessageError as error:
                call.fail(error)
                return 0
            return endpoint.outbox.request(target, message, call, deadline, headers)
        call.fail(endpoint.unreachable(target))
        return 0

    def endpoint(self, address: str, member_id: str) -> Endpoint | None:
        """What takes requests to a peer now, for whoever has many: its `outbox`, for as long as it is not `down`.

        None when requests would fail at once; `post_request` says why.
        """
        endpoint = self._data.get((address, member_id))
        return endpoint if endpoint is not None and endpoint.down is None else None

    def cancel_request(self, address: str, member_id: str, request_id: int, lane: Lane = Lane.DATA) -> None:
        """The caller of a request gave up: nobody is told its end, and what has not started need not start."""
        endpoints = self._data if lane is Lane.DATA else self._endpoints.system
        endpoint = endpoints.get((address, member_id))
        if endpoint is not None and request_id:
            endpoint.cancel(request_id)

    def post(self, pid: PID, message: object, sender: PID | None = None, headers: Headers | None = None) -> None:
        """Send a message that nobody answers. What cannot leave is a dead letter.

        Raises MessageError when the message cannot travel: that is the caller's to know.
        """
        try:
            self._endpoints.find(pid.address, pid.member_id, Lane.DATA).send(pid.id, message, sender, headers)
        except MessageError:
            raise
        except RequestError:
            self.system.dead_letters.add(pid, message, sender, headers)

    def post_system(self, pid: PID, message: object) -> None:
        """Send a system message. It arrives at least once, or the peer is given up and its watchers are told."""
        key = (pid.address, pid.member_id)
        if isinstance(message, Watch):
            self._watches.watching(pid, message.watcher)
        elif isinstance(message, Unwatch):
            self._watches.no_longer_watching(pid, message.watcher)
        try:
            self._endpoints.find(*key, Lane.SYSTEM).send_system(pid.id, message)
        except MessageError as error:
            log.error("system message cannot be sent", target=str(pid), error=str(error))
        except OverloadedError as error:
            self._endpoints.terminate(key, str(error), is_final=False)
        except RequestError:
            self._watches.peer_gone(key)

    def process_for(self, pid: PID) -> Process:
        """What stands here for a process elsewhere."""
        return RemoteProcess(self, pid)

    def connect(self, address: str, member_id: str = "") -> None:
        """Open the streams to a peer now, so that the first request does not wait for them."""
        for lane in Lane:
            with suppress(RequestError):
                self._endpoints.find(address, member_id, lane)

    def forget_member(self, member_id: str, reason: str) -> None:
        """This incarnation has left or is dead: end its streams, fail what waits for it, tell its watchers."""
        self._endpoints.forget_member(member_id, reason)

    def register_kind(self, kind: str, props: Props) -> None:
        """Let other processes spawn `props` here by this name."""
        self._spawner.register(kind, props)

    async def spawn(
        self, address: str, kind: str, name: str = "", *, member_id: str = "", timeout: float | None = None
    ) -> PID:
        """Spawn an actor of a kind that was registered at `address`. Raises RequestErrors, ActivationFailedError
        among them when the kind is unknown there or the name is taken.
        """
        request = spawn.SpawnRequest(kind, name)
        spawner = PID(address, spawn.SPAWNER_ID, member_id)
        pid = await self.system.root.request_async(spawner, request, timeout)
        if not isinstance(pid, PID):
            raise SerializationError(f"{spawner} answered a spawn request with a {type(pid).__name__}")
        return pid

    def _is_drained(self) -> bool:
        """Whether nothing is under way: what was posted here is answered, and those who call us have closed."""
        dialled = self._endpoints.dialled
        return all(link in dialled and link.idle for link in self._around.links)

    def _become(self, hello: Hello) -> None:
        self._hello = hello
        self.serializers.identity.address = hello.address
        self.serializers.identity.member_id = hello.member_id
        if self.system.id != hello.member_id:
            self.system.id = hello.member_id
        self.system.address = hello.address

    def _check_exposure(self) -> None:
        """Plain text is for one machine, or for those who say that they know what they do."""
        config = self.config
        if not addresses.is_loopback(config.host):
            if config.tls is None and not config.insecure:
                raise ConfigError(
                    f"remote.host: {config.host} can be reached from other machines, and whoever reaches it may do "
                    "anything; set RemoteConfig.tls, or insecure=True if the network itself is trusted"
                )
            if config.tls is None:
                log.warning("member port is open without TLS", host=config.host, port=config.port)
        if addresses.is_wildcard(config.host) and not config.advertised_host:
            raise ConfigError(
                f"remote.advertised_host: needed because others cannot connect to {config.host}; set it to this "
                "machine's name or address as they see it"
            )
        if config.advertised_host is not None and addresses.is_wildcard(config.advertised_host):
            raise ConfigError(f"remote.advertised_host: {config.advertised_host} is not reachable by other members")

    def _own_hello(self, lane: Lane, expected_member_id: str) -> Hello:
        blocked = {**self._hello.blocked, **self.block_list.reasons}
        return replace(self._hello, lane=lane, expected_member_id=expected_member_id, blocked=blocked)

    def _blocked(self, member: BlockedMember) -> None:
        log.warning("member blocked", cluster=self._hello.cluster, member=member.member_id, reason=member.reason)
        self._endpoints.forget_member(member.member_id, f"blocked: {member.reason}")

    def _connected(self, endpoint: Endpoint, peer: Hello) -> None:
        self._endpoints.connected(endpoint, peer)

    def _terminated(self, endpoint: Endpoint, reason: str, is_final: bool) -> None:
        self._endpoints.terminated(endpoint, reason, is_final)

    def _near_deadline(self, outbox: Outbox, request_id: int, deadline: float) -> float:
        return self._endpoints.near_deadline(outbox, request_id, deadline)

    def _stay_in_touch(self, key: PeerKey) -> None:
        try:
            self._endpoints.find(*key, Lane.SYSTEM)
        except RequestError:
            self._watches.peer_gone(key)

    def __repr__(self) -> str:
        return f"Remote({self._hello.member_id or 'not started'} at {self._hello.address or '-'})"
