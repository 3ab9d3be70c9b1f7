"""Rules of an identity storage: JOIN, RENEW, LEAVE, KILL, RETIRE."""

from __future__ import annotations

import pytest

from dbgrains.lookups.identity_storage import (
    Claimed,
    Held,
    LeaseCode,
    NoLease,
    SweepCode,
)
from dbgrains.testing.conformance.storage_scene import Rules, Scene


class LeaseRules(Rules):
    """JOIN, RENEW, LEAVE, KILL, RETIRE."""

    async def test_a_lease_ends_one_ttl_after_joining(self, scene: Scene) -> None:
        node = await scene.node(ttl_s=30, joined=False)

        reply = await node.join()

        assert reply.code is LeaseCode.OK
        assert reply.expires_at - reply.now == pytest.approx(30, abs=1e-3)
        assert reply.generation > 0

    async def test_joining_again_with_the_same_nonce_is_a_retry(self, scene: Scene) -> None:
        node = await scene.node()
        first = await node.renew()

        again = await node.join()

        assert again.code is LeaseCode.OK
        assert again.view == first.view

    async def test_an_id_is_refused_to_another_process(self, scene: Scene) -> None:
        await scene.node("a", nonce="one")
        other = await scene.node("a", nonce="two", joined=False)

        assert (await other.join()).code is LeaseCode.DUPLICATE
        assert (await other.renew()).code is LeaseCode.DUPLICATE

    async def test_renewing_extends_the_lease(self, scene: Scene) -> None:
        node = await scene.node(ttl_s=30)

        reply = await node.renew()

        assert reply.code is LeaseCode.OK
        assert reply.expires_at - reply.now == pytest.approx(30, abs=1e-3)

    async def test_renewing_a_lease_that_ran_out_says_so(self, scene: Scene) -> None:
        node = await scene.node(ttl_s=0.02)
        await scene.factory.advance(0.05)

        assert (await node.renew()).code is LeaseCode.REVIVED

    async def test_renewing_without_a_row_means_that_others_removed_it(self, scene: Scene) -> None:
        node = await scene.node("a")
        await scene.node("b")
        await node.storage.leave(0, "a", "n")

        assert (await node.renew()).code is LeaseCode.SWEPT

    async def test_the_view_counts_who_comes_goes_and_is_killed(self, scene: Scene) -> None:
        a = await scene.node("a")
        views = [(await a.renew()).view]

        b = await scene.node("b")
        views.append((await a.renew()).view)
        await a.storage.kill(0, ["b"], None)
        views.append((await a.renew()).view)
        await b.storage.leave(0, "b", "n")
        views.append((await a.renew()).view)
        views.append((await a.renew()).view)

        assert [later - views[0] for later in views] == [0, 1, 2, 3, 3]

    async def test_a_killed_member_can_neither_renew_nor_join_nor_claim(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")

        assert await b.storage.kill(0, ["a"], None) is not None

        assert (await a.renew()).code is LeaseCode.KILLED
        assert (await a.join()).code is LeaseCode.KILLED
        assert await a.claim_one() == NoLease()
        assert await a.reassert(("k/a", 1)) is None

    async def test_killing_never_shortens_a_running_lease(self, scene: Scene) -> None:
        a, b = await scene.node("a", ttl_s=100), await scene.node("b")
        await a.own("k/a")

        left = await b.storage.kill(0, ["a", "nobody"], None)

        assert left is not None
        assert left[0] == pytest.approx(100, abs=5)
        assert left[1] == 0.0
        assert isinstance(await b.claim_one("k/a"), Held)

    async def test_killing_needs_the_view_that_it_was_decided_on(self, scene: Scene) -> None:
        a = await scene.node("a")
        view = (await a.renew()).view
        b = await scene.node("b")

        assert await a.storage.kill(0, ["b"], view) is None
        assert (await b.renew()).code is LeaseCode.OK
        assert await a.storage.kill(0, ["b"], view + 1) is not None

    async def test_what_a_leaver_released_is_free_and_its_lease_is_gone(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        token = await a.own("k/a")
        await a.storage.release(0, "a", [("k/a", token)])

        assert await a.storage.leave(0, "a", "n") is True

        assert await a.storage.leave(0, "a", "n") is False
        assert await a.claim_one("k/a") == NoLease()
        assert isinstance(await b.claim_one("k/a"), Claimed)

    async def test_what_a_leaver_could_not_release_can_be_taken_and_swept(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        await a.claim("k/a", "k/b")

        assert await a.storage.leave(0, "a", "n") is True

        taken = await b.claim_one("k/a")
        assert isinstance(taken, Claimed)
        assert taken.previous == "a"
        await scene.factory.advance(0.02)
        assert await b.storage.expired_members(0, 0.01) == ["a"]
        assert (await b.storage.sweep(0, "a", 0.01)).code is SweepCode.DONE
        assert await b.storage.lookup(0, ["k/b"]) == [None]
        assert await b.storage.expired_members(0, 0.01) == []

    async def test_leaving_with_another_nonce_changes_nothing(self, scene: Scene) -> None:
        a = await scene.node("a")

        assert await a.storage.leave(0, "a", "other") is False
        assert (await a.renew()).code is LeaseCode.OK

    async def test_retiring_frees_the_records_of_a_dead_process_at_once(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        await a.own("k/a")

        assert await b.storage.retire(0, "a", "other") is False
        assert isinstance(await b.claim_one("k/a"), Held)
        assert await b.storage.retire(0, "a", "n") is True

        assert isinstance(await b.claim_one("k/a"), Claimed)
        assert (await a.renew()).code is LeaseCode.KILLED

    @pytest.mark.parametrize("by", ["join", "renew"])
    async def test_a_token_seen_anywhere_is_never_given_again(self, scene: Scene, by: str) -> None:
        a = await scene.node("a")
        seen = await a.own("k/a") + 10**12

        reply = await (a.join(token_seen=seen) if by == "join" else a.renew(token_seen=seen))

        assert reply.token_floor == seen
        assert await a.own("k/b") > seen
