"""URLs of Sentinels and of a Redis Cluster."""

from __future__ import annotations

import pytest

from dbgrains.errors import ConfigError
from dbgrains.redisio.client import connection_to
from dbgrains.redisio.deployment import ClusterNodes, SingleServer, WatchedPrimary, parse_deployment
from dbgrains.redisio.opening import client_for
from dbgrains.redisio.target import RedisTls


def test_one_server_is_what_it_was():
    found = parse_deployment("redis://user:s3cret@h:7000/3")

    assert isinstance(found, SingleServer)
    assert str(found) == "redis://user:***@h:7000/3"


def test_sentinels_are_named_with_their_primary():
    found = parse_deployment("redis+sentinel://user:s3cret@a,b:7000,[::1]:7001/shop/2", sentinel_password="0ther")

    assert isinstance(found, WatchedPrimary)
    assert found.name == "shop"
    assert [(s.host, s.port, s.db) for s in found.sentinels] == [("a", 26379, 0), ("b", 7000, 0), ("::1", 7001, 0)]
    assert {(s.username, s.password) for s in found.sentinels} == {(None, "0ther")}
    primary = found.at("10.0.0.1", 6379)
    assert (primary.host, primary.db, primary.username, primary.password) == ("10.0.0.1", 2, "user", "s3cret")
    assert "s3cret" not in str(found) + repr(found)
    assert "0ther" not in str(found) + repr(found)


def test_a_cluster_is_named_by_some_of_its_nodes():
    found = parse_deployment("rediss+cluster://:s3cret@a,b:7000", tls=RedisTls(ca_path="/ca.pem"))

    assert isinstance(found, ClusterNodes)
    assert [(seed.host, seed.port) for seed in found.seeds] == [("a", 6379), ("b", 7000)]
    assert found.at("c", 1).tls == RedisTls(ca_path="/ca.pem")
    assert "s3cret" not in str(found) + repr(found)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel://a,b", "no name of a primary"),
        ("redis+sentinel://a,,b/shop", "an empty host"),
        ("redis+sentinel:///shop", "an empty host"),
        ("redis+sentinel://a/shop/zero", "database 'zero'"),
        ("redis+cluster://a/1", "only database 0"),
        ("redis+cluster://a:port", "port is not a number"),
        ("http+cluster://a", "scheme 'http'"),
        ("redis+other://a", r"scheme 'redis+other'"),
        ("redis+cluster://a?retry=1", "options retry"),
    ],
)
def test_what_is_wrong_is_said(url: str, problem: str):
    with pytest.raises(ConfigError, match="redis url") as raised:
        parse_deployment(url)

    assert problem in str(raised.value)


def test_credentials_of_sentinels_need_sentinels():
    with pytest.raises(ConfigError, match=r"expected redis\+sentinel"):
        parse_deployment("redis://h", sentinel_password="x")


def test_a_url_is_text():
    with pytest.raises(TypeError, match="must be str, got NoneType"):
        parse_deployment(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["redis+sentinel://a/shop", "redis+cluster://a"])
def test_a_factory_makes_connections_to_one_server_only(url: str):
    deployment = parse_deployment(url)

    def factory() -> object:
        raise AssertionError("not called")

    with pytest.raises(ConfigError, match="client_factory"):
        client_for(deployment, timeout_s=1, needed="", connections=1, factory=factory)  # type: ignore[arg-type]


def test_a_connection_tries_nothing_twice():
    found = parse_deployment("redis://h")
    assert isinstance(found, SingleServer)

    client = connection_to(found.target, 1.0)

    assert client.connection_pool.connection_kwargs["retry"].get_retries() == 0
