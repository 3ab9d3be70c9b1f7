"""The links with TLS: who gets in, what is said when somebody does not, and certificates that change."""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog
import trustme

from dbgrains.actor.pid import PID
from dbgrains.config import RemoteConfig, TlsConfig
from dbgrains.errors import ConfigError, UnreachableError
from dbgrains.remote.grpc_transport import GrpcTransport
from dbgrains.remote.preflight import diagnose
from tests.peers import Peers

QUICK = {"reconnect_min_s": 0.01, "reconnect_max_s": 0.05, "unreachable_after_s": 30.0}


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    async with AsyncExitStack() as stack:
        yield Peers(stack, None)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls(directory: Path, authority: trustme.CA, name: str = "member", **options: object) -> TlsConfig:
    """A certificate for 127.0.0.1, in files."""
    directory.mkdir(exist_ok=True)
    config = TlsConfig(
        certificate_path=str(directory / f"{name}.cert.pem"),
        key_path=str(directory / f"{name}.key.pem"),
        ca_path=str(directory / f"{name}.ca.pem"),
        **options,  # type: ignore[arg-type]
    )
    write(config, authority)
    return config


def write(config: TlsConfig, authority: trustme.CA, *names: str, **options: object) -> None:
    certificate = authority.issue_cert(*(names or ("127.0.0.1", "localhost")), **options)  # type: ignore[arg-type]
    Path(config.certificate_path).write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(config.key_path)
    authority.cert_pem.write_to_path(config.ca_path)


async def test_members_with_certificates_of_one_authority_talk(peers: Peers, tmp_path: Path, authority: trustme.CA):
    a = await peers.start("a", tls=tls(tmp_path, authority, "a"), host="0.0.0.0", advertised_host="127.0.0.1")
    b = await peers.start("b", tls=tls(tmp_path, authority, "b"))

    assert await a.ask(b.echo(), "q").answer() == "q"
    assert await b.ask(a.echo(), "q").answer() == "q"


async def test_the_name_in_the_certificate_can_be_another_than_the_address(
    peers: Peers, tmp_path: Path, authority: trustme.CA
):
    config = tls(tmp_path, authority, server_name="any.member.shop")
    write(config, authority, "any.member.shop")
    a, b = await peers.start("a", tls=config), await peers.start("b", tls=config)

    assert await a.ask(b.echo(), "q").answer() == "q"


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("plain to tls", "speaks TLS, and this process is configured without it"),
        ("tls to plain", "speaks plain text, and this process is configured with RemoteConfig.tls"),
        ("other authority", "the certificate of .* is not accepted"),
        ("wrong name", "the certificate of .* is not accepted"),
        ("own certificate refused", "does not accept the certificate of this process"),
    ],
)
async def test_a_peer_that_does_not_fit_is_explained(
    peers: Peers, tmp_path: Path, authority: trustme.CA, case: str, reason: str
):
    other = trustme.CA()
    mine: TlsConfig | None = tls(tmp_path, authority, "mine")
    theirs: TlsConfig | None = tls(tmp_path, authority, "theirs")
    assert mine is not None and theirs is not None
    match case:
        case "plain to tls":
            mine = None
        case "tls to plain":
            theirs = None
        case "other authority":
            write(theirs, other)
        case "wrong name":
            write(theirs, authority, "somebody.else")
        case "own certificate refused":
            write(mine, other)
            authority.cert_pem.write_to_path(mine.ca_path)
    a, b = await peers.start("a", tls=mine, **QUICK), await peers.start("b", tls=theirs)
    b.echo()

    text = ""
    async with asyncio.timeout(20.0):
        while not text:
            try:
                await a.ask(b.pid("echo"), "q").answer()
                pytest.fail("it was let in")
            except UnreachableError as error:
                text = str(error) if re.search(reason, str(error)) else ""
            await asyncio.sleep(0.01)


async def test_a_new_certificate_is_used_from_the_next_connection_on(
    peers: Peers, tmp_path: Path, authority: trustme.CA
):
    config_a, config_b = tls(tmp_path, authority, "a"), tls(tmp_path, authority, "b")
    a, b = await peers.start("a", tls=config_a, **QUICK), await peers.start("b", tls=config_b)
    b.echo()
    assert await a.ask(b.pid("echo"), "old").answer() == "old"

    renewed = trustme.CA()
    for config in (config_a, config_b):
        write(config, renewed)
    c = await peers.start("c", tls=tls(tmp_path, renewed, "c"))

    assert await c.ask(b.pid("echo"), "new authority").answer() == "new authority"
    assert await b.ask(c.echo(), "back").answer() == "back"
    assert await a.ask(b.pid("echo"), "the open stream goes on").answer() == "the open stream goes on"


async def test_a_half_written_certificate_keeps_the_old_one_in_use(peers: Peers, tmp_path: Path, authority: trustme.CA):
    config = tls(tmp_path, authority, "b")
    b = await peers.start("b", tls=config)
    b.echo()
    Path(config.key_path).write_text("-----BEGIN PRIVATE KEY-----\nhalf")

    a = await peers.start("a", tls=tls(tmp_path, authority, "a"))

    assert await a.ask(b.pid("echo"), "q").answer() == "q"


async def test_without_mutual_tls_a_peer_needs_no_certificate_that_is_trusted(
    peers: Peers, tmp_path: Path, authority: trustme.CA
):
    stranger = tls(tmp_path, trustme.CA(), "a")
    authority.cert_pem.write_to_path(stranger.ca_path)
    a = await peers.start("a", tls=stranger)
    b = await peers.start("b", tls=tls(tmp_path, authority, "b", require_peer_certificate=False))

    assert await a.ask(b.echo(), "q").answer() == "q"


def test_files_that_cannot_be_used_are_named(tmp_path: Path, authority: trustme.CA):
    good, other = tls(tmp_path, authority, "good"), tls(tmp_path, authority, "other")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    cases = {
        "tls.certificate_path: .*absent.pem cannot be read: No such file": {"certificate_path": "absent.pem"},
        "tls.ca_path: .*junk.pem holds no usable PEM certificate": {"ca_path": str(junk)},
        "private key .*other.key.pem does not match certificate .*good.cert.pem": {"key_path": other.key_path},
        "no usable PEM certificate and private key": {"certificate_path": str(junk)},
    }
    for text, change in cases.items():
        paths = {"certificate_path": good.certificate_path, "key_path": good.key_path, "ca_path": good.ca_path}
        with pytest.raises(ConfigError, match=text):
            GrpcTransport(RemoteConfig(tls=TlsConfig(**{**paths, **change})))


def test_a_certificate_out_of_its_time_is_refused_with_its_dates(tmp_path: Path, authority: trustme.CA):
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    config = tls(tmp_path, authority)

    write(config, authority, "127.0.0.1", not_after=now - day)
    with pytest.raises(ConfigError, match=r"expired; it is valid from .* to .* GMT"):
        GrpcTransport(RemoteConfig(tls=config))
    write(config, authority, "127.0.0.1", not_before=now + day)
    with pytest.raises(ConfigError, match=r"not yet valid; it is valid from"):
        GrpcTransport(RemoteConfig(tls=config))


def test_a_key_that_everybody_can_read_is_mentioned(tmp_path: Path, authority: trustme.CA):
    config = tls(tmp_path, authority)
    Path(config.key_path).chmod(0o644)

    with structlog.testing.capture_logs() as logs:
        GrpcTransport(RemoteConfig(tls=config))

    assert [line["event"] for line in logs] == ["private key is readable by everybody on this machine"]


async def test_diagnosing_never_raises(tmp_path: Path, authority: trustme.CA):
    config = tls(tmp_path, authority)

    assert "expected host:port" in await diagnose("nonsense", config, 1.0)
    assert "refused" in (await diagnose("127.0.0.1:1", config, 1.0)).lower()
    assert await diagnose("no.such.host.invalid:1", None, 1.0)


async def test_a_pid_of_a_plain_text_process_is_reachable_only_without_tls(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    assert await a.ask(PID(b.echo().address, "echo"), "q").answer() == "q"
