"""Members as operating system processes: they join, serve, leave, are killed, stand still and come back."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from dbgrains.testing.member_process import ProcessFailedError
from tests.multiprocess.member import KEEPER, Add
from tests.multiprocess.processes import REQUEST_TIMEOUT_S, a_site, member_id, port_of
from tests.waiting import until

pytestmark = [pytest.mark.multiprocess, pytest.mark.timeout(120)]

IDENTITIES = [f"probe-{number}" for number in range(60)]


async def test_grains_spread_over_the_members_and_each_lives_once():
    async with a_site("a", "b", "c") as site:
        first = await site.where_all(IDENTITIES)
        second = await site.where_all(IDENTITIES)

        assert {here.member_id for here in first.values()} == site.member_ids()
        assert {identity: here.member_id for identity, here in second.items()} == {
            identity: here.member_id for identity, here in first.items()
        }
        assert all(here.turns == 2 for here in second.values())


async def test_the_grains_of_a_killed_member_come_back_on_the_others_with_larger_tokens():
    async with a_site("a", "b", "c") as site:
        before = await site.where_all(IDENTITIES)
        victim = site.members["a"]

        victim.kill()
        after = await site.where_all(IDENTITIES)

        dead = member_id(victim)
        moved = [identity for identity in IDENTITIES if before[identity].member_id == dead]
        assert moved
        assert all(after[identity].member_id != dead for identity in IDENTITIES)
        assert all(after[identity].token > before[identity].token for identity in moved)
        assert all(after[identity].turns == 2 for identity in IDENTITIES if identity not in moved)


async def test_nothing_acknowledged_is_lost_with_a_killed_member():
    async with a_site("a", "b") as site:
        for identity in IDENTITIES:
            await site.client.request(identity, KEEPER, Add(7), timeout=REQUEST_TIMEOUT_S)

        site.members["a"].kill()
        await site.forgets(site.members["a"])  # from here on no call can be under way to it
        sums = [
            await site.client.request(identity, KEEPER, Add(1), timeout=REQUEST_TIMEOUT_S) for identity in IDENTITIES
        ]

        assert sums == [8] * len(IDENTITIES)


async def test_a_member_that_leaves_answers_what_it_has_begun(tmp_path: Path):
    async with a_site("a", "b") as site:
        places = await site.where_all(IDENTITIES)
        leaving = site.members["a"]
        there = [identity for identity in IDENTITIES if places[identity].member_id == member_id(leaving)]
        slow = await site.slowly_where(there, 0.5, tmp_path)

        leaving.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*slow)

        assert {here.member_id for here in answers} == {member_id(leaving)}
        assert await leaving.wait(10) == 0


async def test_a_leaving_members_grains_are_free_at_once():
    async with a_site("a", "b") as site:
        await site.where_all(IDENTITIES)
        leaving = site.members["a"]

        assert await leaving.terminate() == 0
        async with asyncio.timeout(1.0):  # less than a lease
            after = await site.where_all(IDENTITIES)

        assert {here.member_id for here in after.values()} == {member_id(site.members["b"])}


async def test_a_member_restarted_on_the_same_port_is_a_new_incarnation():
    async with a_site("a", "b") as site:
        before = await site.where_all(IDENTITIES)
        victim = site.members["a"]
        port = port_of(victim)
        victim.kill()
        await victim.wait(5)

        (successor,) = await site.start("a", port=port)
        after = await site.where_all(IDENTITIES)

        assert port_of(successor) == port
        assert member_id(successor) != member_id(victim)
        assert all(here.member_id != member_id(victim) for here in after.values())
        assert all(
            after[identity].token > here.token
            for identity, here in before.items()
            if here.member_id == member_id(victim)
        )


async def test_a_member_that_stood_still_past_its_lease_does_not_answer_for_what_it_lost():
    async with a_site("a", "b") as site:
        before = await site.where_all(IDENTITIES)
        frozen = site.members["a"]

        frozen.pause()
        during = await site.where_all(IDENTITIES)
        frozen.resume()
        after = await site.where_all(IDENTITIES)

        lost = [identity for identity in IDENTITIES if before[identity].member_id == member_id(frozen)]
        assert lost
        assert all(during[identity].member_id == member_id(site.members["b"]) for identity in lost)
        assert all(after[identity].token >= during[identity].token for identity in lost)


async def test_a_second_signal_ends_a_member_at_once(tmp_path: Path):
    async with a_site("a") as site:
        process = site.members["a"]
        (busy,) = await site.slowly_where(["slow"], 30, tmp_path)

        process.send_signal(signal.SIGTERM)
        await until(lambda: "leaving the cluster" in process.output)
        process.send_signal(signal.SIGTERM)

        assert await process.wait(2) == 128 + signal.SIGTERM
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def test_a_member_whose_port_is_taken_says_so_and_ends():
    async with a_site("a") as site:
        with pytest.raises(ProcessFailedError, match=rf"{port_of(site.members['a'])}"):
            await site.start("b", port=port_of(site.members["a"]))
