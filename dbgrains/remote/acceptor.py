"""The accepting side of every stream: who is it, may it, and then let it run."""

from __future__ import annotations

import structlog

from dbgrains.errors import ConnectionLostError
from dbgrains.remote.endpoint import Surroundings
from dbgrains.remote.endpoint_manager import EndpointManager
from dbgrains.remote.handshake import HandshakeRefusedError, Lane, answer
from dbgrains.remote.link import Link
from dbgrains.remote.transport import Connection

log = structlog.get_logger()


class Acceptor:
    """Runs the streams that others open to this process."""

    def __init__(self, around: Surroundings, endpoints: EndpointManager) -> None:
        self._around = around
        self._endpoints = endpoints

    async def accept(self, connection: Connection) -> None:
        """One stream, from its first frame to its end. Never raises for reasons of the peer."""
        around = self._around
        try:
            peer = await answer(
                connection,
                around.hello(Lane.DATA, ""),
                around.config.handshake_timeout_s,
                leaving=around.inbound.leaving,
            )
        except (HandshakeRefusedError, ConnectionLostError) as error:
            around.inbound.statistics.handshakes_refused += 1
            log.warning("peer not accepted", peer=connection.peer, reason=str(error))
            return
        if not peer.is_client:
            link = Link(connection, peer, around.config, around.inbound, None)
            around.links[link] = None
            try:
                await link.run()
            finally:
                around.links.pop(link, None)
            return
        endpoint = self._endpoints.client(peer)
        self._endpoints.connected(endpoint, peer)
        await endpoint.serve(Link(connection, peer, around.config, around.inbound, endpoint.outbox))
