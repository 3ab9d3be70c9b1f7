"""Rules of an identity storage: CLAIM, LOOKUP, RELEASE, REASSERT and the list of what a member owns."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.lookups.identity_storage import (
    Claimed,
    Held,
    NoLease,
    ReassertCode,
    Record,
    SaveCode,
    StaleRequest,
)
from dbgrains.sansio.identity import from_key_form, key_form
from dbgrains.testing.conformance.storage_scene import Rules, Scene, owned_by
from dbgrains.testing.waiting import until

AGE_S = 0.2


class ClaimRules(Rules):
    """CLAIM, LOOKUP, RELEASE, REASSERT and the list of what a member owns."""

    async def test_a_claimed_record_is_seen_by_everybody(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")

        reply = await a.claim_one("k/a")

        assert isinstance(reply, Claimed)
        assert reply.previous == ""
        assert await b.storage.lookup(0, ["k/x", "k/a"]) == [None, Record("a", reply.token, a.address, True)]

    async def test_a_record_of_a_running_member_is_held_and_for_how_long_at_least(self, scene: Scene) -> None:
        a, b = await scene.node("a", ttl_s=20), await scene.node("b")
        token = await a.own("k/a")

        reply = await b.claim_one("k/a")

        assert isinstance(reply, Held)
        assert reply == Held(token, "a", a.address)
        assert 10 < reply.lease_left_s <= 20

    async def test_a_record_tells_how_long_ago_its_owner_renewed_its_lease(self, scene: Scene) -> None:
        a, b = await scene.node("a", ttl_s=20), await scene.node("b")
        await a.own("k/a")

        await scene.factory.advance(AGE_S)
        [aged] = await b.storage.lookup(0, ["k/a"])
        assert isinstance(aged, Record)
        assert aged.lease_age_s is not None
        assert AGE_S * 0.9 < aged.lease_age_s < 20

        async def is_younger() -> bool:
            await a.renew()
            [seen] = await b.storage.lookup(0, ["k/a"])
            assert isinstance(seen, Record)
            assert seen.lease_age_s is not None
            return seen.lease_age_s < AGE_S * 0.9

        await until(is_younger)

    async def test_a_record_is_taken_over_when_its_owners_lease_has_ended(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        token = await a.own("k/a")
        await scene.lapse(a)
        [seen] = await b.storage.lookup(0, ["k/a"])
        assert isinstance(seen, Record)
        assert not seen.live

        reply = await b.claim_one("k/a")

        assert isinstance(reply, Claimed)
        assert reply.previous == "a"
        assert reply.token > token

    async def test_a_repeated_claim_gets_the_first_answer(self, scene: Scene) -> None:
        a = await scene.node("a")

        [first] = await a.storage.claim(0, "a", "n", [("k/a", 7)])
        [again] = await a.storage.claim(0, "a", "n", [("k/a", 7)])

        assert isinstance(first, Claimed)
        assert isinstance(again, Claimed)
        assert first.token == again.token

    async def test_a_late_duplicate_does_not_disturb_a_newer_claim(self, scene: Scene) -> None:
        a = await scene.node("a")
        await a.storage.claim(0, "a", "n", [("k/a", 7)])
        [newer] = await a.storage.claim(0, "a", "n", [("k/a", 8)])

        [late] = await a.storage.claim(0, "a", "n", [("k/a", 7)])

        assert isinstance(newer, Claimed)
        assert newer.previous == "a"
        assert late == StaleRequest(newer.token)

    async def test_claiming_again_takes_the_record_from_oneself_with_a_larger_token(self, scene: Scene) -> None:
        a = await scene.node("a")

        assert await a.own("k/a") < await a.own("k/a")

    @pytest.mark.parametrize("reason", ["never joined", "other nonce", "lease ended"])
    async def test_nothing_is_granted_without_a_running_lease(self, scene: Scene, reason: str) -> None:
        await scene.node("founder")
        match reason:
            case "never joined":
                node = await scene.node("a", joined=False)
            case "other nonce":
                await scene.node("a", nonce="one")
                node = await scene.node("a", nonce="two", joined=False)
            case _:
                node = await scene.node("a", ttl_s=0.02)
                await scene.factory.advance(0.05)

        assert await node.claim("k/a", "k/b") == [NoLease(), NoLease()]
        assert await node.storage.lookup(0, ["k/a"]) == [None]

    async def test_nothing_is_granted_in_a_shard_that_nobody_joined(self, scene: Scene) -> None:
        node = await scene.node("a", joined=False)

        assert await node.claim_one() == NoLease()
        assert await node.reassert(("k/a", 1), restore=True) is None

    async def test_each_record_of_a_batch_gets_its_own_answer(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        held = await a.own("k/held")
        await b.storage.claim(0, "b", "n", [("k/mine", 5)])

        replies = await b.storage.claim(0, "b", "n", [("k/free", 6), ("k/held", 7), ("k/mine", 4)])

        assert isinstance(replies[0], Claimed)
        assert replies[1] == Held(held, "a", a.address)
        assert isinstance(replies[2], StaleRequest)

    async def test_a_full_batch_is_claimed_listed_and_released(self, scene: Scene) -> None:
        a = await scene.node("a")
        keys = [f"k/{n}" for n in range(a.storage.batch_max)]

        replies = await a.claim(*keys)
        tokens = {key: reply.token for key, reply in zip(keys, replies, strict=True) if isinstance(reply, Claimed)}

        assert len(set(tokens.values())) == len(keys)
        assert dict(await owned_by(a)) == tokens
        assert await a.storage.release(0, "a", list(tokens.items())) == len(keys)
        assert await a.storage.lookup(0, keys) == [None] * len(keys)
        assert await owned_by(a) == []

    async def test_batches_are_checked(self, scene: Scene) -> None:
        a = await scene.node("a")
        too_many = [f"k/{n}" for n in range(a.storage.batch_max + 1)]

        with pytest.raises(ValueError, match="at most"):
            await a.claim(*too_many)
        with pytest.raises(ValueError, match="at most"):
            await a.storage.lookup(0, too_many)
        with pytest.raises(ValueError, match="twice"):
            await a.claim("k/a", "k/a")
        assert await a.claim() == []
        assert await a.storage.lookup(0, []) == []
        assert await a.storage.release(0, "a", []) == 0
        assert await a.reassert() == []

    async def test_tokens_of_a_shard_only_grow(self, scene: Scene) -> None:
        nodes = [await scene.node(name) for name in "abc"]
        tokens = []
        for round_ in range(5):
            for node in nodes:
                replies = await node.claim(*(f"{node.name}/{round_}-{n}" for n in range(4)))
                tokens += [reply.token for reply in replies if isinstance(reply, Claimed)]

        assert len(tokens) == 60
        assert tokens == sorted(set(tokens))

    async def test_only_one_of_many_claimers_gets_the_record(self, scene: Scene) -> None:
        nodes = [await scene.node(f"m{n}") for n in range(8)]

        replies = await asyncio.gather(*(node.claim_one("k/a") for node in nodes for _ in range(4)))

        winners = {r.token for r in replies if isinstance(r, Claimed)}
        holders = {r.member_id for r in replies if isinstance(r, Held)}
        assert len(holders) == 1
        assert len(winners) == len([r for r in replies if isinstance(r, Claimed)]) <= 4
        [record] = await nodes[0].storage.lookup(0, ["k/a"])
        assert isinstance(record, Record)
        assert record.member_id in holders

    async def test_only_the_exact_owner_and_token_releases_a_record(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        token = await a.own("k/a")

        assert await b.storage.release(0, "b", [("k/a", token)]) == 0
        assert await a.storage.release(0, "a", [("k/a", token - 1)]) == 0
        assert await owned_by(a) == [("k/a", token)]
        assert await a.storage.release(0, "a", [("k/b", token), ("k/a", token)]) == 1
        assert await a.storage.release(0, "a", [("k/a", token)]) == 0
        assert isinstance(await b.claim_one("k/a"), Claimed)

    async def test_a_late_release_does_not_delete_the_next_owners_record(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        old = await a.own("k/a")
        await scene.lapse(a)
        token = await b.own("k/a")

        assert await a.storage.release(0, "a", [("k/a", old)]) == 0
        assert await b.storage.lookup(0, ["k/a"]) == [Record("b", token, b.address, True)]

    async def test_reasserting_verifies_what_is_there(self, scene: Scene) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")

        codes = await a.reassert(("k/a", token), ("k/b", token))

        assert codes == [ReassertCode.MINE, ReassertCode.LOST]
        assert await a.reassert(("k/a", token + 1)) == [ReassertCode.LOST]

    async def test_nothing_is_restored_while_the_shard_is_open(self, scene: Scene) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")
        await a.storage.release(0, "a", [("k/a", token)])

        assert await a.reassert(("k/a", token), restore=True) == [ReassertCode.LOST]
        assert await a.storage.lookup(0, ["k/a"]) == [None]

    async def test_reasserting_needs_a_running_lease(self, scene: Scene) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")
        await scene.lapse(a)

        assert await a.reassert(("k/a", token)) is None

    async def test_the_list_of_owned_records_has_pages_and_leaves_out_what_was_lost(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        tokens: dict[str, int] = {}
        for begin in range(0, 900, 225):
            keys = [f"k/{n}" for n in range(begin, begin + 225)]
            tokens |= {k: r.token for k, r in zip(keys, await a.claim(*keys), strict=True) if isinstance(r, Claimed)}
        await scene.lapse(a)
        taken = [f"k/{n}" for n in range(0, 900, 9)]
        assert all(isinstance(r, Claimed) for r in await b.claim(*taken))

        owned = await owned_by(a)

        assert dict(owned) == {key: token for key, token in tokens.items() if key not in taken}
        assert sorted(key for key, _ in await owned_by(b)) == sorted(taken)

    @pytest.mark.parametrize(
        "identity",
        ["}{x", "{a}", "a/b", "%7B", "a%2Fb", "*", "../..", "a b", "a:b|c", "é", "e\u0301", "😀" * 256, "x" * 1024],
    )
    async def test_any_identity_is_its_own_record_and_comes_back_unchanged(self, scene: Scene, identity: str) -> None:
        a = await scene.node("a")
        others = [key_form("k", other) for other in ("a", "b", "%", "/", "{", "é", "a%252Fb")]
        key = key_form("k/{1}", identity)

        token = await a.own(key)

        assert await a.storage.lookup(0, [*others, key]) == [None] * len(others) + [Record("a", token, a.address, True)]
        [(listed, _)] = await owned_by(a)
        assert from_key_form(listed).identity == identity
        assert await a.save(key, token, 0, b"x") == (SaveCode.OK, 1)
        assert await a.storage.release(0, "a", [(key, token)]) == 1
        assert await owned_by(a) == []
