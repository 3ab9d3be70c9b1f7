"""The commands that look at a running cluster: members, where, activations."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
import typer

from dbgrains.cli.observer import Address, Observer, observing
from dbgrains.cli.options import (
    DEFAULT_REDIS_URL,
    DEFAULT_TIMEOUT_S,
    AsJson,
    Authority,
    Certificate,
    ClusterName,
    Key,
    RedisUrl,
    Timeout,
    address_of,
)
from dbgrains.cli.output import EXIT_BAD_NEWS, EXIT_GOOD, carry_out, console, duration, show_json, table
from dbgrains.cluster.operator_messages import (
    ROWS_MAX,
    ActivationDetails,
    ActivationList,
    DescribeMember,
    FindIdentity,
    IdentityFound,
    InspectActivation,
    ListActivations,
    MemberDescription,
)
from dbgrains.errors import DbgrainsError
from dbgrains.sansio.identity import check_name
from dbgrains.sansio.topology import Member

SHOWN: int = 100


def members(
    cluster: ClusterName,
    redis: RedisUrl = DEFAULT_REDIS_URL,
    as_json: AsJson = False,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    tls_certificate: Certificate = None,
    tls_key: Key = None,
    tls_ca: Authority = None,
) -> None:
    """Who is in the cluster, for how long, and how many grains each hosts.

    Exits with 1 when there is nobody, or somebody who is listed doesn't answer.
    """
    address = address_of(redis, cluster, timeout, tls_certificate, tls_key, tls_ca)
    found = carry_out(lambda: _members(address), as_json=as_json)
    if as_json:
        show_json(found)
    else:
        shown = table(f"{len(found)} members of {cluster}", "member", "address", "state", ">up", ">grains", "kinds")
        for one in found:
            hosted: dict[str, int] = one["activations"]
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(hosted.items()))
            up = "" if one["up_s"] is None else duration(one["up_s"])
            state = one["state"] if one["error"] is None else f"no answer: {one['error']}"
            shown.add_row(
                one["id"], one["address"], state, up, f"{sum(hosted.values()):,}", kinds or ", ".join(one["kinds"])
            )
        console().print(shown)
        for one in found:
            for text in one["differences"]:
                console().print(f"{one['id']} differs from {text}", markup=False, highlight=False)
    sys.exit(EXIT_GOOD if found and all(one["error"] is None for one in found) else EXIT_BAD_NEWS)


def where(
    identity: Annotated[str, typer.Argument(metavar="KIND/ID", help="A slash in the kind is written %2F.")],
    cluster: ClusterName,
    redis: RedisUrl = DEFAULT_REDIS_URL,
    as_json: AsJson = False,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    tls_certificate: Certificate = None,
    tls_key: Key = None,
    tls_ca: Authority = None,
) -> None:
    """Where a grain is active: its owner, its fencing token, and the age of its lease. Never activates it.

    Exits with 1 when it is active nowhere.
    """
    kind, slash, name = identity.partition("/")
    if not slash:
        raise typer.BadParameter(f"got {identity!r}; expected KIND/ID, such as counter/click-counter")
    kind = unquote(kind)
    try:
        check_name("kind", kind)
        check_name("identity", name)
    except DbgrainsError as error:
        raise typer.BadParameter(str(error)) from error
    address = address_of(redis, cluster, timeout, tls_certificate, tls_key, tls_ca)
    found = carry_out(lambda: _where(address, kind, name), as_json=as_json)
    if as_json:
        show_json(found)
    elif found["member"] is None:
        console().print(f"{kind}/{name} is recorded nowhere: the next call activates it.")
    else:
        console().print(f"{kind}/{name} is on {found['member']} at {found['address']}, token {found['token']}.")
        if found["lease_age_s"] is not None:
            console().print(f"Its member's lease was renewed {found['lease_age_s']:.1f} s ago.")
        console().print(_state_of(found))
    sys.exit(EXIT_GOOD if found["active"] else EXIT_BAD_NEWS)


def activations(
    cluster: ClusterName,
    kind: Annotated[str, typer.Option("--kind", help="Only this kind.")] = "",
    member: Annotated[str, typer.Option("--member", help="Only this member: its id, or how that begins.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="Grains to show of each member; 0 for all.")] = SHOWN,
    redis: RedisUrl = DEFAULT_REDIS_URL,
    as_json: AsJson = False,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    tls_certificate: Certificate = None,
    tls_key: Key = None,
    tls_ca: Authority = None,
) -> None:
    """Which grains are active, and where. They come and go while this reads.

    Exits with 1 when a member doesn't answer.
    """
    address = address_of(redis, cluster, timeout, tls_certificate, tls_key, tls_ca)
    found = carry_out(lambda: _activations(address, kind, member, limit), as_json=as_json)
    if as_json:
        show_json(found)
    else:
        rows = found["activations"]
        counts = ", ".join(f"{count:,} of {name}" for name, count in sorted(found["counts"].items())) or "no grains"
        shown = table(f"{counts} are active in {cluster}; {len(rows):,} shown", "grain", ">token", "member")
        for row in rows:
            shown.add_row(f"{row['kind']}/{row['identity']}", str(row["token"]), row["member"])
        console().print(shown)
        for name, text in found["errors"].items():
            console(stderr=True).print(f"{name} does not answer: {text}")
    sys.exit(EXIT_BAD_NEWS if found["errors"] else EXIT_GOOD)


async def _members(address: Address) -> list[dict[str, Any]]:
    async with observing(address) as observer:
        return list(await asyncio.gather(*(_described(observer, member) for member in observer.members)))


async def _described(observer: Observer, member: Member) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": member.id,
        "address": member.address,
        "kinds": sorted(member.kinds),
        "labels": dict(member.labels),
        "state": None,
        "up_s": None,
        "activations": {},
        "differences": [],
        "error": None,
    }
    try:
        told = await observer.ask(member, DescribeMember(), MemberDescription)
    except DbgrainsError as error:
        return row | {"error": str(error)}
    return row | {
        "state": told.state,
        "up_s": round(told.up_s, 3),
        "activations": told.activations,
        "differences": told.differences,
    }


async def _where(address: Address, kind: str, identity: str) -> dict[str, Any]:
    async with observing(address) as observer:
        found = await observer.ask(observer.any_member(), FindIdentity(kind, identity), IdentityFound)
        details = ActivationDetails(active=False)
        if owner := next((member for member in observer.members if member.id == found.member_id), None):
            details = await observer.ask(owner, InspectActivation(kind, identity), ActivationDetails)
    return {
        "kind": kind,
        "identity": identity,
        "member": found.member_id or None,
        "address": found.address or None,
        "token": found.token or None,
        "lease_is_running": found.live,
        "lease_age_s": None if found.lease_age_s is None else round(found.lease_age_s, 3),
        "active": details.active,
        "may_act_s": None if details.may_act_s is None else round(details.may_act_s, 3),
    }


def _state_of(found: dict[str, Any]) -> str:
    if not found["active"]:
        return (
            "It is recorded, and not active: its member is starting or ending it, or has just gone."
            if found["lease_is_running"]
            else "Its member's lease has run out: the next call activates it elsewhere."
        )
    if found["may_act_s"] is None:
        return "It is active; no lease is involved."
    if found["may_act_s"] <= 0:
        return "It is active and suspended: its member's lease was not renewed in time."
    return f"It is active, and may act for {found['may_act_s']:.1f} s if the lease is not renewed before."


async def _activations(address: Address, kind: str, name: str, limit: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    errors: dict[str, str] = {}
    async with observing(address) as observer:
        chosen = [observer.member(name)] if name else list(observer.members)
        for member in chosen:
            try:
                told = await observer.ask(member, DescribeMember(), MemberDescription)
                for one, count in told.activations.items():
                    if kind in ("", one):
                        counts[one] = counts.get(one, 0) + count
                rows += await _listed(observer, member, kind, limit)
            except DbgrainsError as error:
                errors[member.id] = str(error)
    return {"counts": counts, "activations": rows, "errors": errors}


async def _listed(observer: Observer, member: Member, kind: str, limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    more = True
    while more and (limit == 0 or len(rows) < limit):
        size = ROWS_MAX if limit == 0 else min(ROWS_MAX, limit - len(rows))
        page = await observer.ask(member, ListActivations(kind, offset=len(rows), limit=size), ActivationList)
        rows += [msgspec.to_builtins(row) | {"member": member.id} for row in page.rows]
        more = page.more
    return rows
