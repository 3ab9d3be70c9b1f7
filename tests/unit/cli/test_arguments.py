"""What the commands say about wrong arguments, and about a Redis that is not there or not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog
from click.testing import Result
from typer.testing import CliRunner

from dbgrains.cli.application import application
from dbgrains.cli.output import EXIT_BAD_NEWS, EXIT_COULD_NOT_RUN
from dbgrains.testing.redis_server import EmbeddedRedis

NOBODY = "redis://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def run(*arguments: str, **variables: str) -> Result:
    environment = {"DBGRAINS_REDIS": None, "DBGRAINS_CLUSTER": None, "COLUMNS": "200", **variables}
    return CliRunner().invoke(application, list(arguments), env=environment)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["where", "nothing", "--cluster", "c"], "KIND/ID"),
        (["where", "/x", "--cluster", "c"], "kind"),
        (["where", "a/", "--cluster", "c"], "identity"),
        (["members"], "--cluster"),
        (["members", "--cluster", "c", "--timeout", "0"], "more than 0"),
        (["members", "--cluster", "c", "--tls-key", "k.pem"], "go together"),
        (["activations", "--cluster", "c", "--limit", "-1"], "--limit"),
        (["drain", "--cluster", "c"], "MEMBER"),
        (["bench", "--seconds", "0"], "--seconds"),
        (["demo", "--members", "1"], "one of them is killed"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], text: str):
    result = run(*arguments)

    assert result.exit_code == EXIT_COULD_NOT_RUN
    assert text in result.output


@pytest.mark.parametrize(("cluster", "redis"), [("", NOBODY), ("shop", "http://localhost")])
def test_a_cluster_or_a_redis_that_cannot_be_is_refused_in_json_too(cluster: str, redis: str):
    result = run("members", "--json", DBGRAINS_CLUSTER=cluster or "a" * 2000, DBGRAINS_REDIS=redis)

    assert result.exit_code == EXIT_COULD_NOT_RUN
    assert json.loads(result.stdout)["error"]["text"]


def test_a_redis_that_is_not_there_is_said_in_a_sentence():
    result = run("members", "--json", DBGRAINS_CLUSTER="shop", DBGRAINS_REDIS=NOBODY)

    assert result.exit_code == EXIT_COULD_NOT_RUN
    assert "127.0.0.1:1" in json.loads(result.stdout)["error"]["text"]


def test_a_cluster_that_nobody_is_in_has_no_members():
    with EmbeddedRedis() as server:
        members = run("members", "--json", "--cluster", "shop", "--redis", server.url)
        where = run("where", "cart/1", "--cluster", "shop", "--redis", server.url)

    assert (members.exit_code, json.loads(members.stdout)) == (EXIT_BAD_NEWS, [])
    assert where.exit_code == EXIT_COULD_NOT_RUN
    assert "'shop' has no members" in where.output


def test_the_doctor_finds_what_would_lose_leases():
    with EmbeddedRedis(options={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as server:
        result = run("doctor", "--json", DBGRAINS_REDIS=server.url)

    assert result.exit_code == EXIT_BAD_NEWS
    findings = json.loads(result.stdout)
    assert [one["check"].split()[-1] for one in findings if one["status"] == "problem"] == ["eviction"]
    assert "noeviction" in next(one["advice"] for one in findings if one["status"] == "problem")


def test_the_doctor_finds_a_redis_that_is_not_there():
    result = run("doctor", DBGRAINS_REDIS=NOBODY)

    assert result.exit_code == EXIT_BAD_NEWS
    assert "127.0.0.1:1" in result.output
