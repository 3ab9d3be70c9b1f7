"""Rules of an identity storage: what closes a shard for new grants, and what opens it again."""

from __future__ import annotations

import pytest

from dbgrains.errors import StorageConfigError
from dbgrains.lookups.identity_storage import (
    Claimed,
    Held,
    LeaseCode,
    LeaseTerms,
    Quarantined,
    ReassertCode,
    Record,
)
from dbgrains.testing.conformance.storage_scene import LONG_S, Rules, Scene, owned_by, patiently


class HistoryRules(Rules):
    """What closes a shard for new grants, and what opens it again."""

    async def test_a_new_shard_is_closed_for_one_quarantine(self, scene: Scene) -> None:
        a = await scene.node("a", quarantine_s=LONG_S, joined=False)

        joined = await a.join()
        reply = await a.claim_one()

        assert joined.open_at - joined.now == pytest.approx(LONG_S, abs=1e-3)
        assert isinstance(reply, Quarantined)
        assert LONG_S - 60 < reply.remaining_s <= LONG_S

    async def test_a_shard_opens_when_its_quarantine_is_over(self, scene: Scene) -> None:
        a = await scene.node("a", quarantine_s=0.05)
        await scene.factory.advance(0.1)

        assert isinstance(await a.claim_one(), Claimed)

    async def test_a_repeated_claim_is_answered_while_the_shard_is_closed(self, scene: Scene) -> None:
        a = await scene.node("a")
        strict = await scene.node("a", quarantine_s=LONG_S, gap_s=0.01, joined=False)
        [first] = await a.storage.claim(0, "a", "n", [("k/a", 3)])
        await scene.factory.advance(0.05)

        [again, other] = await strict.storage.claim(0, "a", "n", [("k/a", 3), ("k/b", 4)])

        assert isinstance(first, Claimed)
        assert again == Claimed(first.token, "a")
        assert isinstance(other, Quarantined)

    async def test_a_flush_is_noticed_and_closes_the_shard(self, scene: Scene) -> None:
        a, b = await scene.node("a", quarantine_s=LONG_S), await scene.node("b", quarantine_s=LONG_S)
        await scene.factory.flush()

        renewed = await a.renew()
        assert renewed.code is LeaseCode.LOST_DATA
        assert renewed.generation != a.generation
        assert (await a.join()).code is LeaseCode.OK
        assert (await b.join()).code is LeaseCode.OK

        assert isinstance(await b.claim_one("k/a"), Quarantined)

    async def test_after_a_flush_the_owner_restores_its_records_and_others_see_them(self, scene: Scene) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")
        await scene.factory.flush()
        strict = await scene.node("a", quarantine_s=LONG_S, joined=False)
        b = await scene.node("b", quarantine_s=LONG_S, joined=False)
        await strict.join()
        await b.join()

        codes = await strict.reassert(("k/a", token), restore=True)

        assert codes == [ReassertCode.RESTORED]
        assert await strict.reassert(("k/a", token), restore=True) == [ReassertCode.MINE]
        assert await b.claim_one("k/a") == Held(token, "a", a.address)
        assert await owned_by(strict) == [("k/a", token)]
        assert (await strict.renew()).token_floor >= token

    async def test_what_another_running_member_has_is_not_restored_over_it(self, scene: Scene) -> None:
        before = await scene.node("b")
        token = await before.own("k/a")
        await scene.factory.flush()
        a = await scene.node("a", quarantine_s=LONG_S)
        b = await scene.node("b", quarantine_s=LONG_S)
        await b.reassert(("k/a", token), restore=True)

        assert await a.reassert(("k/a", token + 1), restore=True) == [ReassertCode.BUSY]
        assert await a.storage.lookup(0, ["k/a"]) == [Record("b", token, b.address, True)]

    async def test_a_record_with_a_newer_token_is_not_overwritten(self, scene: Scene) -> None:
        before = await scene.node("b")
        token = await before.own("k/a")
        await scene.factory.flush()
        a = await scene.node("a", quarantine_s=LONG_S)
        b = await scene.node("b", quarantine_s=LONG_S)
        assert await b.reassert(("k/a", token), restore=True) == [ReassertCode.RESTORED]
        await scene.lapse(b)

        assert await a.reassert(("k/a", token - 1), restore=True) == [ReassertCode.LOST]
        assert await a.reassert(("k/a", token + 1), restore=True) == [ReassertCode.RESTORED]
        assert isinstance((await a.storage.lookup(0, ["k/a"]))[0], Record)

    async def test_a_silence_alone_restores_nothing_because_it_loses_nothing(self, scene: Scene) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")
        await a.storage.release(0, a.name, [("k/a", token)])
        strict = await scene.node("a", quarantine_s=LONG_S, gap_s=0.01, joined=False)
        await scene.factory.advance(0.05)

        assert await strict.reassert(("k/a", token), restore=True) == [ReassertCode.LOST]

    async def test_a_clock_set_forward_leaves_of_a_quarantine_what_was_left(self, scene: Scene) -> None:
        if not scene.factory.can_step_clock:
            pytest.skip("the clock of this database cannot be set")
        await scene.node("a")
        await scene.factory.flush()
        a = await scene.node("a", gap_s=2, quarantine_s=20)
        await scene.factory.step_clock(LONG_S)

        reply = await a.renew()

        assert reply.open_at - reply.now == pytest.approx(20, abs=1)
        assert isinstance(await a.claim_one("k/a"), Quarantined)

    async def test_a_restart_is_a_new_generation_and_closes_the_shard(self, scene: Scene) -> None:
        if not scene.factory.can_restart:
            pytest.skip("this database cannot be restarted here")
        a, b = await scene.node("a"), await scene.node("b")
        token = await a.own("k/a")
        await scene.factory.restart()
        strict = await scene.node("a", quarantine_s=LONG_S, joined=False)
        strict.generation = a.generation

        reply = await patiently(strict.renew)

        assert reply.code is LeaseCode.REGEN
        assert reply.generation > a.generation
        assert reply.open_at - reply.now == pytest.approx(LONG_S, abs=1)
        assert reply.token_floor >= token + 10**9
        assert isinstance(await patiently(lambda: b.claim_one("k/b")), Quarantined)
        assert await strict.reassert(("k/a", token), restore=True) == [ReassertCode.MINE]

    async def test_an_unfinished_reassertion_keeps_the_shard_closed_but_not_for_ever(self, scene: Scene) -> None:
        a = await scene.node("a", ttl_s=100, quarantine_s=0.5)

        stretched = await a.renew(more=True)
        await scene.factory.advance(1.6)
        b = await scene.node("b", ttl_s=100, quarantine_s=0.5)
        b.generation = a.generation
        late = await b.renew(more=True)

        assert stretched.open_at - stretched.now == pytest.approx(100, abs=1e-3)
        assert late.open_at == stretched.open_at

    async def test_a_silence_closes_the_shard_until_all_have_renewed(self, scene: Scene) -> None:
        a, b, c = [await scene.node(name, quarantine_s=0) for name in "abc"]
        strict = await scene.node("b", gap_s=0.05, quarantine_s=LONG_S)
        strict.generation = b.generation
        await scene.factory.advance(0.1)

        noticed = await strict.renew()
        assert noticed.open_at - noticed.now == pytest.approx(LONG_S, abs=1e-3)
        assert isinstance(await b.claim_one(), Quarantined)
        assert (await a.renew()).open_at > noticed.now + 60
        reopened = await c.renew()

        assert reopened.open_at <= reopened.now
        assert isinstance(await b.claim_one(), Claimed)

    async def test_a_member_that_was_dead_before_the_silence_is_not_waited_for(self, scene: Scene) -> None:
        a = await scene.node("a")
        await scene.node("dead", ttl_s=0.02)
        await scene.factory.advance(0.05)
        await a.renew()
        strict = await scene.node("a", gap_s=0.05, quarantine_s=LONG_S)
        await scene.factory.advance(0.1)

        reply = await strict.renew()

        assert reply.open_at <= reply.now

    async def test_a_clock_set_back_lets_no_lease_and_no_closure_outlast_its_time(self, scene: Scene) -> None:
        if not scene.factory.can_step_clock:
            pytest.skip("the clock of this database cannot be set")
        a, b = await scene.node("a", ttl_s=10), await scene.node("b", ttl_s=LONG_S, quarantine_s=20)
        await a.own("k/a")
        await scene.factory.step_clock(-LONG_S)

        await b.renew()
        assert isinstance(await b.claim_one("k/a"), Held)
        await scene.factory.advance(11)
        assert isinstance(await b.claim_one("k/a"), Quarantined)
        await scene.factory.advance(10)

        assert isinstance(await b.claim_one("k/a"), Claimed)

    async def test_a_clock_set_forward_is_a_silence(self, scene: Scene) -> None:
        if not scene.factory.can_step_clock:
            pytest.skip("the clock of this database cannot be set")
        a, b = await scene.node("a", ttl_s=10), await scene.node("b", ttl_s=10, gap_s=2, quarantine_s=20)
        await a.own("k/a")
        await scene.factory.step_clock(LONG_S)

        assert (await b.renew()).code is LeaseCode.REVIVED
        assert isinstance(await b.claim_one("k/a"), Quarantined)
        assert (await a.renew()).code is LeaseCode.REVIVED
        assert isinstance(await b.claim_one("k/a"), Held)

    async def test_after_a_flush_the_layout_is_restored_by_whoever_joins(self, scene: Scene) -> None:
        cluster = scene.cluster
        storage = await scene.factory.open(cluster, LeaseTerms(30, 10, 0), shards=3)
        await scene.factory.flush()

        await storage.join(1, "a", "n", "a:1", 0)

        with pytest.raises(StorageConfigError, match="configured 2"):
            await scene.factory.open(cluster, LeaseTerms(30, 10, 0), shards=2)
