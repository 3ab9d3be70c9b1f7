"""docs/redis-keys.md is true."""

from __future__ import annotations

import re
from pathlib import Path

import fakeredis
import pytest

from dbgrains.lookups.identity_storage import Claimed, LeaseTerms
from dbgrains.providers.redis import RedisProvider
from dbgrains.redisio.acl import acl_rules
from dbgrains.redisio.script import load_scripts
from dbgrains.storage.redis import RedisIdentityStorage
from dbgrains.storage.subscribers import RedisSubscriberStore
from dbgrains.testing.conformance.cluster_provider import ProviderScene

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/redis-keys.md").read_text()


def test_the_page_grants_what_the_package_needs():
    assert f"ACL SETUSER shop on >PASSWORD {acl_rules('shop')}\n" in PAGE


@pytest.mark.parametrize("package", ["storage", "providers"])
def test_the_page_lists_every_script_and_which_only_read(package: str):
    for script in load_scripts(ROOT / f"dbgrains/{package}/redis_scripts").values():
        line = rf"^\| `{script.name}`{re.escape('*') if script.reads_only else ''}( \(provider\))? \|"
        assert re.search(line, PAGE, re.MULTILINE), script


async def test_the_page_lists_every_key_that_is_written():
    server = fakeredis.FakeServer()

    def client() -> fakeredis.FakeAsyncRedis:
        return fakeredis.FakeAsyncRedis(server=server)

    class Factory:
        can_expire = True

        def create(self) -> RedisProvider:
            return RedisProvider("redis://fake", client_factory=client)

        async def evict(self, cluster: str, member_id: str) -> None:
            raise NotImplementedError

    scene = ProviderScene(Factory(), "shop")
    await scene.join("a")
    storage = RedisIdentityStorage("redis://fake", client_factory=client)
    await storage.start("shop", LeaseTerms(60, 60, 0), operation_timeout_s=5)
    await storage.join(0, "a.1", "n", "a:1", 0)
    [claimed] = await storage.claim(0, "a.1", "n", [("k/x", 1)])
    assert isinstance(claimed, Claimed)
    await storage.save(0, "k/x", "a.1", claimed.token, 0, b"x")
    store = RedisSubscriberStore("redis://fake", client_factory=client)
    await store.start("shop")
    await store.open("news")
    async with client() as looking:
        written = sorted(key.decode() for key in await looking.keys("*"))
    await store.stop()
    await storage.stop()
    await scene.close()

    listed = re.findall(r"^\| `(\{?dg:[^`]+)` \| (?:hash|set) \|", PAGE, re.MULTILINE)
    names = {"<cluster>": "shop", "<shard>": "0", "<key>": "k/x", "<member id>": "a.1", "<topic>": "news"}
    for placeholder, value in names.items():
        listed = [key.replace(placeholder, value) for key in listed]
    assert written == sorted(listed)
