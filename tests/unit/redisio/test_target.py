"""Redis URLs: what they mean, what is wrong with them, and that they keep their secrets."""

from __future__ import annotations

import pytest

from dbgrains.errors import ConfigError
from dbgrains.redisio.target import RedisTarget, RedisTls


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"),
        ("redis://h:7000?db=4", "redis://h:7000/4"),
        ("redis://[::1]:7000", "redis://[::1]:7000/0"),
        ("rediss://h", "rediss://h:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix:///run/a%20b.sock?db=2", "unix:///run/a b.sock"),
        ("redis://:s3cret@h", "redis://:***@h:6379/0"),
        ("redis://user:s3cret@h", "redis://user:***@h:6379/0"),
        ("unix://user:s3cret@/run/redis.sock", "unix://user:***@/run/redis.sock"),
    ],
)
def test_a_url_names_its_server_and_hides_its_password(url: str, shown: str):
    target = RedisTarget.parse(url)

    assert str(target) == shown
    assert "s3cret" not in str(target) + repr(target)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h", "scheme 'http'"),
        ("h:6379", "scheme 'h'"),
        ("", "scheme ''"),
        ("redis://h:port", "port is not a number"),
        ("redis://h:70000", "port is not a number"),
        ("redis://h/zero", "database 'zero'"),
        ("redis://h/-1", "database '-1'"),
        ("redis://h?retry=3&timeout=1", "options retry, timeout"),
        ("unix://", "no socket path"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url: str, problem: str):
    with pytest.raises(ConfigError, match="redis url") as raised:
        RedisTarget.parse(url)

    assert problem in str(raised.value)


def test_a_url_is_text():
    with pytest.raises(TypeError, match="must be str, got NoneType"):
        RedisTarget.parse(None)  # type: ignore[arg-type]


def test_arguments_win_over_the_url_and_are_not_decoded():
    target = RedisTarget.parse("redis://a%40b:p%2Fw@h", username="other", password="100%25")

    assert (target.username, target.password) == ("other", "100%25")
    assert (
        RedisTarget.parse("redis://a%40b:p%2Fw@h").username,
        RedisTarget.parse("redis://a%40b:p%2Fw@h").password,
    ) == (
        "a@b",
        "p/w",
    )


def test_tls_settings_need_a_tls_url():
    with pytest.raises(ConfigError, match="expected rediss://"):
        RedisTarget.parse("redis://h", tls=RedisTls())

    options = RedisTarget.parse("rediss://h", tls=RedisTls(ca_path="/ca.pem")).options()
    assert options["ssl"] is True
    assert options["ssl_ca_certs"] == "/ca.pem"
    assert options["ssl_check_hostname"] is True


def test_a_password_is_struck_out_of_any_text():
    target = RedisTarget.parse("redis://:s3cret@h")

    assert target.without_secrets("AUTH s3cret failed") == "AUTH *** failed"
