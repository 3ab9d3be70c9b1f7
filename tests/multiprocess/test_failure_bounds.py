"""How soon real members give up one that is killed or stands still, by the default profile (for_lan)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from dbgrains import DbgrainsError, TopologyChanged
from dbgrains.testing.member_process import MemberProcess
from tests.multiprocess.member import PROBE, Here, WhereAreYou
from tests.multiprocess.processes import Site, a_site, member_id, port_of
from tests.waiting import until

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(180)]

log = structlog.get_logger()

KILLED_S = 3.0
FROZEN_S = 6.0
LOADED = 4
"""Processors that others keep busy make everybody late, and who is late is patient on purpose: so many times the bound
is still taken here. `python -m benchmarks gossip` measures without that."""

BLOCKED_S = 20.0
IDENTITIES = [f"probe-{number}" for number in range(30)]


async def given_up_s(site: Site, strike: Callable[[MemberProcess], None], victim: str) -> float:
    """From the strike until the victim is no member any more, as the client sees it."""
    process = site.members[victim]
    gone_at: dict[str, float] = {}

    def changed(change: TopologyChanged) -> None:
        gone_at.update({member.id: time.monotonic() for member in change.left})

    site.client.system.event_stream.subscribe(TopologyChanged, changed)
    began = time.monotonic()
    strike(process)
    await until(lambda: member_id(process) in gone_at, timeout=LOADED * FROZEN_S)
    return gone_at[member_id(process)] - began


async def test_a_killed_member_is_given_up_within_three_seconds_and_a_frozen_one_within_six():
    async with a_site("a", "b", "c", "d", lease="default") as site:
        killed_s = await given_up_s(site, MemberProcess.kill, "a")
        frozen_s = await given_up_s(site, MemberProcess.pause, "b")
        others = {member_id(site.members[name]) for name in "cd"}
        await until(lambda: site.member_ids() == others)

    log.info("given up", killed_s=round(killed_s, 2), frozen_s=round(frozen_s, 2))
    assert killed_s <= LOADED * KILLED_S
    assert frozen_s <= LOADED * FROZEN_S


async def test_a_process_that_is_back_on_the_port_at_once_is_another_member(tmp_path: Path):
    """The successor has everything imported, and joins as soon as the process before it is gone."""
    async with a_site("a", "b", "c") as site:
        before = await site.where_all(IDENTITIES)
        victim, loaded = site.members["a"], tmp_path / "loaded"
        options = ("--after", str(victim.pid), "--loaded", str(loaded))
        starting = asyncio.create_task(site.start("a", port=port_of(victim), options=options))
        await until(loaded.exists, timeout=30.0)

        killed_at = time.monotonic()
        victim.kill()
        (successor,) = await starting
        everybody = {member_id(site.members[name]) for name in "abc"}
        await until(lambda: site.member_ids() == everybody, timeout=30.0)
        after = await site.where_all(IDENTITIES)

    began = float(str(successor.announcement["began"]))
    log.info("began to join on the port of a killed member", after_s=round(began - killed_at, 3))
    assert port_of(successor) == port_of(victim)
    assert member_id(successor) != member_id(victim)
    moved = [identity for identity, here in before.items() if here.member_id == member_id(victim)]
    assert moved
    assert all(after[identity].token > before[identity].token for identity in moved)
    assert all(here.member_id in everybody for here in after.values())


async def test_a_member_whose_loop_is_blocked_for_twenty_seconds_is_given_up_and_comes_back_as_another_one():
    async with a_site("a", "b") as site:
        (blocked,) = await site.start("c", options=("--hard-fence", "off"))
        before = await site.where_all(IDENTITIES)
        theirs = [identity for identity, here in before.items() if here.member_id == member_id(blocked)]
        assert theirs

        blocking = asyncio.create_task(
            site.client.request(theirs[0], PROBE, WhereAreYou(blocks_s=BLOCKED_S), timeout=2 * BLOCKED_S)
        )
        began = time.monotonic()
        await site.forgets(blocked)
        log.info("given up", blocked_s=round(time.monotonic() - began, 2))
        during = await site.where_all(theirs[1:])
        answer = (await asyncio.gather(blocking, return_exceptions=True))[0]
        assert isinstance(answer, DbgrainsError | Here)
        await until(lambda: len(site.member_ids()) == 3, timeout=60.0)
        after = await site.where_all(IDENTITIES)

        others = {member_id(site.members[name]) for name in "ab"}
        assert {here.member_id for here in during.values()} <= others
        assert all(during[identity].token > before[identity].token for identity in during)
        assert all(after[identity].token >= during[identity].token for identity in during)
        assert member_id(blocked) not in {here.member_id for here in after.values()}
        assert "event loop stalled" in blocked.output
        assert f"identity={theirs[0]}" in blocked.output
        assert "joined again" in blocked.output
