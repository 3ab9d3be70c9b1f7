"""The commands against members that speak TLS, and that mean different things by a kind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme

from dbgrains import (
    Cluster,
    ClusterConfig,
    DbIdentityLookup,
    Grain,
    KindsDiffer,
    LeaseConfig,
    RemoteConfig,
    TlsConfig,
)
from dbgrains.providers.redis import RedisProvider
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.testing.redis_server import EmbeddedRedis
from tests.multiprocess.commands import run, run_well
from tests.waiting import until

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(180)]


class Cart(Grain, kind="cart"):
    """As it is."""

    async def add(self, sku: str) -> int:
        return 1


class NewerCart(Grain, kind="cart"):
    """As it will be."""

    async def add(self, sku: int) -> int:
        return sku


@pytest.fixture
async def options(tmp_path: Path) -> AsyncIterator[list[str]]:
    """What names a cluster of two members that speak TLS and have noticed that their carts differ."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("certificate", "key", "ca")}
    Path(paths["certificate"]).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(paths["key"])
    authority.cert_pem.write_to_path(paths["ca"])
    tls = TlsConfig(certificate_path=paths["certificate"], key_path=paths["key"], ca_path=paths["ca"])
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis())
        noticed: list[KindsDiffer] = []
        for node, cart in (("a", Cart), ("b", NewerCart)):
            member = Cluster(
                name="shop",
                provider=RedisProvider(redis.url),
                lookup=DbIdentityLookup(RedisIdentityStorage(redis.url)),
                kinds=[cart],
                remote=RemoteConfig(tls=tls),
                config=ClusterConfig(node_name=node, lease=LeaseConfig.failover()),
            )
            member.system.event_stream.subscribe(KindsDiffer, noticed.append)
            await stack.enter_async_context(member)
        await until(lambda: len(noticed) >= 2, timeout=60.0)
        tls_options = [part for name in paths for part in (f"--tls-{name}", paths[name])]
        yield ["--redis", redis.url, "--cluster", "shop", "--timeout", "30", *tls_options]


async def test_members_that_speak_tls_are_asked_with_a_certificate_and_tell_how_their_kinds_differ(options: list[str]):
    found = json.loads(await run_well("members", "--json", *options))
    table = await run_well("members", *options)
    code, refusal, _ = await run("members", "--json", *options[:6])

    assert [one["error"] for one in found] == [None, None]
    for one in found:
        assert any("cart" in text and "add" in text for text in one["differences"]), one
    assert table.count("differs from") == 2
    assert code == 1, "without a certificate they are listed, and nobody answers"
    assert all(one["error"] for one in json.loads(refusal))


async def test_the_doctor_names_kinds_that_differ_and_finds_no_problem_in_it(options: list[str]):
    findings = json.loads(await run_well("doctor", "--json", *options))

    ports = [one for one in findings if one["check"].endswith(" port")]
    assert [one["status"] for one in ports] == ["ok", "ok"]
    differing = [one for one in findings if one["check"].endswith(" kinds")]
    assert len(differing) >= 2
    for one in differing:
        assert one["status"] == "warning"
        assert "differs from" in one["found"]
        assert one["advice"] == "finish the upgrade of all members"
