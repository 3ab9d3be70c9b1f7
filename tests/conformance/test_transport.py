"""The transport suite on gRPC (plain and with mutual TLS) and on the network in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from dbgrains.config import RemoteConfig, TlsConfig
from dbgrains.remote.grpc_transport import GrpcTransport
from dbgrains.remote.memory_transport import MemoryNetwork
from dbgrains.remote.transport import Connection, Transport
from dbgrains.testing.conformance.transport import TransportConformance, Wire


class TestMemoryTransport(TransportConformance):
    @pytest.fixture
    def create_transport(self) -> Callable[[], Transport]:
        return MemoryNetwork().transport


class TestGrpcTransport(TransportConformance):
    @pytest.fixture
    def create_transport(self) -> Callable[[], Transport]:
        return lambda: GrpcTransport(RemoteConfig())


class TestGrpcTransportWithMutualTls(TransportConformance):
    @pytest.fixture
    def create_transport(self, tmp_path: Path) -> Callable[[], Transport]:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "one.member.shop")
        paths = [str(tmp_path / name) for name in ("cert.pem", "key.pem", "ca.pem")]
        certificate.cert_chain_pems[0].write_to_path(paths[0])
        certificate.private_key_pem.write_to_path(paths[1])
        authority.cert_pem.write_to_path(paths[2])
        return lambda: GrpcTransport(
            RemoteConfig(tls=TlsConfig(certificate_path=paths[0], key_path=paths[1], ca_path=paths[2]))
        )

    async def test_the_accepting_side_knows_the_names_in_the_certificate(self, wire: Wire):
        names: list[tuple[str, ...]] = []

        async def accept(connection: Connection) -> None:
            names.append(connection.peer_names)
            await connection.receive()

        near = await wire.here.connect(await wire.serve(accept))
        await near.send(b"hello")
        assert await near.receive() is None
        await near.close()

        assert names == [("127.0.0.1", "one.member.shop")] or names == [("one.member.shop", "127.0.0.1")]
