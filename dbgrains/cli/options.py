"""The options that say which cluster is meant; the same in every command."""

from __future__ import annotations

from typing import Annotated

import typer

from dbgrains.cli.observer import CLUSTER_VARIABLE, REDIS_VARIABLE, Address
from dbgrains.config import TlsConfig

RedisUrl = Annotated[str, typer.Option("--redis", metavar="URL", envvar=REDIS_VARIABLE, help="The members' Redis.")]
ClusterName = Annotated[
    str, typer.Option("--cluster", metavar="NAME", envvar=CLUSTER_VARIABLE, help="The name that the members share.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="S", help="How long one member may take to answer.")]
Certificate = Annotated[
    str | None, typer.Option("--tls-certificate", metavar="PEM", help="Members speak TLS: our certificate.")
]
Key = Annotated[str | None, typer.Option("--tls-key", metavar="PEM", help="Its key.")]
Authority = Annotated[str | None, typer.Option("--tls-ca", metavar="PEM", help="Who signed the members' certificates.")]

DEFAULT_REDIS_URL = "redis://localhost:6379"
DEFAULT_TIMEOUT_S = 5.0


def address_of(
    redis: str, cluster: str, timeout: float, certificate: str | None, key: str | None, authority: str | None
) -> Address:
    """The cluster that the options name."""
    if timeout <= 0:
        raise typer.BadParameter(f"--timeout: got {timeout:g}; expected more than 0")
    tls = None
    if certificate or key or authority:
        if not (certificate and key and authority):
            raise typer.BadParameter(
                "--tls-certificate, --tls-key and --tls-ca go together: both sides show who they are"
            )
        tls = TlsConfig(certificate_path=certificate, key_path=key, ca_path=authority)
    return Address(redis_url=redis, cluster=cluster, tls=tls, timeout_s=timeout)
