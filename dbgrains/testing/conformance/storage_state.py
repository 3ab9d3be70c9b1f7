"""Rules of an identity storage: fenced state cells."""

from __future__ import annotations

import pytest

from dbgrains.lookups.identity_storage import (
    SaveCode,
    StoredState,
)
from dbgrains.testing.conformance.storage_scene import Rules, Scene


class StateRules(Rules):
    """Fenced state cells."""

    async def test_a_cell_that_nobody_wrote_is_empty(self, scene: Scene) -> None:
        a = await scene.node("a")

        assert await a.storage.load(0, "k/a") == StoredState(0, 0, None)

    @pytest.mark.parametrize("payload", [b"", b"\x00\xff\r\n|", b"x" * 1_000_000])
    async def test_what_was_saved_is_loaded(self, scene: Scene, payload: bytes) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")

        assert await a.save("k/a", token, 0, payload) == (SaveCode.OK, 1)

        assert await a.storage.load(0, "k/a") == StoredState(1, token, payload)

    async def test_versions_count_and_an_old_one_is_a_conflict(self, scene: Scene) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")
        await a.save("k/a", token, 0, b"1")

        assert await a.save("k/a", token, 1, b"2") == (SaveCode.OK, 2)
        assert await a.save("k/a", token, 0, b"other") == (SaveCode.CONFLICT, 2)
        assert await a.save("k/a", token, 7, b"other") == (SaveCode.CONFLICT, 2)
        assert (await a.storage.load(0, "k/a")).payload == b"2"

    async def test_a_repeated_save_is_one_save(self, scene: Scene) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")

        first = await a.save("k/a", token, 0, b"1")
        again = await a.save("k/a", token, 0, b"1")

        assert first == again == (SaveCode.OK, 1)
        assert (await a.storage.load(0, "k/a")).version == 1

    async def test_clearing_removes_the_payload_and_keeps_counting(self, scene: Scene) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")
        await a.save("k/a", token, 0, b"1")

        assert await a.save("k/a", token, 1, None) == (SaveCode.OK, 2)
        assert await a.save("k/a", token, 1, None) == (SaveCode.OK, 2)
        assert await a.storage.load(0, "k/a") == StoredState(2, token, None)
        assert await a.save("k/a", token, 2, b"3") == (SaveCode.OK, 3)

    async def test_a_writer_that_lost_its_record_is_fenced(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        old = await a.own("k/a")
        await a.save("k/a", old, 0, b"a")
        await scene.lapse(a)
        token = await b.own("k/a")

        reply = await a.storage.save(0, "k/a", "a", old, 1, b"late")

        assert (reply.code, reply.owner) == (SaveCode.FENCED, "b")
        assert await b.save("k/a", token, 1, b"b") == (SaveCode.OK, 2)
        assert (await a.storage.save(0, "k/a", "a", old, 2, b"late")).code is SaveCode.FENCED
        assert await b.storage.load(0, "k/a") == StoredState(2, token, b"b")

    async def test_nobody_writes_without_a_record(self, scene: Scene) -> None:
        a = await scene.node("a")
        token = await a.own("k/a")
        await a.storage.release(0, "a", [("k/a", token)])

        reply = await a.storage.save(0, "k/a", "a", token, 0, b"x")

        assert (reply.code, reply.owner) == (SaveCode.FENCED, "")

    async def test_state_survives_its_activation(self, scene: Scene) -> None:
        a, b = await scene.node("a"), await scene.node("b")
        first = await a.own("k/a")
        await a.save("k/a", first, 0, b"1")
        await a.storage.release(0, "a", [("k/a", first)])
        second = await b.own("k/a")

        assert await b.storage.load(0, "k/a") == StoredState(1, first, b"1")
        assert await b.save("k/a", second, 1, b"2") == (SaveCode.OK, 2)
