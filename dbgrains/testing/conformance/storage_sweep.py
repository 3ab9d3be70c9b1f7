"""Rules of an identity storage: collecting what dead members left behind."""

from __future__ import annotations

from dbgrains.lookups.identity_storage import (
    LeaseCode,
    Record,
    SweepCode,
    SweepReply,
)
from dbgrains.testing.conformance.storage_scene import LONG_S, Rules, Scene


class SweepRules(Rules):
    """Collecting what dead members left behind."""

    async def test_a_member_is_listed_as_expired_only_after_the_grace(self, scene: Scene) -> None:
        a = await scene.node("a")
        await scene.node("dead", ttl_s=0.02)
        await scene.factory.advance(0.1)

        assert await a.storage.expired_members(0, LONG_S) == []
        assert await a.storage.expired_members(0, 0.01) == ["dead"]

    async def test_nobody_is_swept_while_alive_or_within_the_grace(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b", ttl_s=0.05)
        await scene.factory.advance(0.1)

        assert (await a.storage.sweep(0, "a", 0.0)).code is SweepCode.ALIVE
        assert (await a.storage.sweep(0, "b", LONG_S)).code in (SweepCode.ALIVE, SweepCode.QUARANTINED)
        assert (await b.renew()).code is LeaseCode.REVIVED

    async def test_nothing_is_swept_while_the_shard_is_closed(self, scene: Scene) -> None:
        a = await scene.node("a", quarantine_s=LONG_S)
        await scene.node("dead", ttl_s=0.02, quarantine_s=LONG_S)
        await scene.factory.advance(0.1)

        assert (await a.storage.sweep(0, "dead", 0.0)).code is SweepCode.QUARANTINED

    async def test_nothing_is_swept_in_a_shard_that_nobody_joined(self, scene: Scene) -> None:
        node = await scene.node("a", joined=False)

        assert (await node.storage.sweep(0, "dead", 0.0)).code is SweepCode.QUARANTINED

    async def test_a_dead_members_records_go_in_batches_and_its_row_last(self, scene: Scene) -> None:
        a = await scene.node("a")
        dead = await scene.node("dead")
        keys = [f"k/{n}" for n in range(450)]
        await dead.claim(*keys[:225])
        await dead.claim(*keys[225:])
        await scene.lapse(dead)

        replies: list[SweepReply] = []
        while not replies or replies[-1].left:
            replies.append(await a.storage.sweep(0, "dead", 0.01))
            assert len(replies) <= 10
            if replies[-1].left:
                assert await a.storage.expired_members(0, 0.01) == ["dead"]

        assert sum(reply.deleted for reply in replies) == 450
        assert max(reply.deleted for reply in replies) <= 200
        assert await a.storage.lookup(0, keys[:225]) == [None] * 225
        assert await a.storage.lookup(0, keys[225:]) == [None] * 225
        assert await a.storage.expired_members(0, 0.01) == []
        assert (await dead.renew()).code is LeaseCode.SWEPT
        assert (await a.storage.sweep(0, "dead", 0.01)).deleted == 0

    async def test_what_was_taken_over_meanwhile_stays(self, scene: Scene) -> None:
        a = await scene.node("a")
        dead = await scene.node("dead")
        await dead.claim("k/a", "k/b")
        await scene.lapse(dead)
        token = await a.own("k/a")

        reply = await a.storage.sweep(0, "dead", 0.01)

        assert (reply.code, reply.deleted, reply.left) == (SweepCode.DONE, 1, 0)
        assert await a.storage.lookup(0, ["k/a", "k/b"]) == [Record("a", token, a.address, True), None]
