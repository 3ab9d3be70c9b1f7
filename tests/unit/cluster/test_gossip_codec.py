"""What members say to each other, as bytes: all of it arrives, or is passed on, and nothing is too big."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgrains.cluster import gossip_codec
from dbgrains.cluster.gossip_codec import Unread, Value, size_of
from dbgrains.config import GossipConfig
from dbgrains.sansio import block_entries
from dbgrains.sansio.block_entries import REASON_MAX, BlockEntry
from dbgrains.sansio.failure_detector import Contact
from dbgrains.sansio.gossip_book import GossipBook
from dbgrains.sansio.gossip_state import NO_STATE, Digest, Entry, News, Wanted, write
from dbgrains.sansio.grain_contract import Fingerprints
from dbgrains.sansio.heartbeat import ActorStatistics, GossipKeys, MemberHeartbeat, MemberState
from dbgrains.sansio.membership_messages import GossipReply, GossipRequest, ProbeReply, ProbeRequest
from dbgrains.sansio.token_floor import TokenFloors
from dbgrains.sansio.topology import Member
from dbgrains.wire import gossip_pb2 as wire

ME = Member("a.01", "h:1", frozenset({"cart", "order"}), {"zone": "ä"})

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
heartbeats = st.builds(
    MemberHeartbeat,
    st.builds(
        Member,
        names,
        names,
        st.frozensets(names, max_size=20),
        st.dictionaries(names, names, max_size=20),
    ),
    st.sampled_from(MemberState),
    st.integers(0, 1 << 62),
    st.builds(ActorStatistics, st.dictionaries(names, st.integers(0, 1 << 31), max_size=20)),
    st.floats(0, 1000, width=32),
    names,
    names,
)
fingerprints = st.builds(Fingerprints, st.dictionaries(names, names, max_size=20))
blocks = st.lists(
    st.tuples(names, st.builds(BlockEntry, st.integers(1, 9), st.booleans(), st.floats(0, 2e9), names, names)),
    max_size=20,
).map(tuple)
values = {
    GossipKeys.HEARTBEAT: heartbeats,
    GossipKeys.TOPOLOGY: st.integers(0, (1 << 64) - 1),
    GossipKeys.SUSPECTS: st.dictionaries(names, st.integers(0, 1 << 62), max_size=20),
    GossipKeys.BLOCKED: blocks,
    GossipKeys.CONTRACTS: fingerprints,
    GossipKeys.TOKENS: st.builds(TokenFloors, st.lists(st.integers(0, 1 << 53), max_size=70).map(tuple)),
    "shop:version": st.builds(Value, names, st.binary(max_size=300)),
}
entries = st.one_of([st.tuples(st.just(key), said) for key, said in values.items()])


def told(request: GossipRequest) -> wire.GossipRequest:
    return wire.GossipRequest.FromString(gossip_codec.request_to_wire(request).SerializeToString())


def answered(reply: GossipReply) -> wire.GossipReply:
    return wire.GossipReply.FromString(gossip_codec.reply_to_wire(reply).SerializeToString())


def news(*said: tuple[str, object], owner: str = "a.01") -> tuple[News, ...]:
    return (News(owner, 0, tuple((key, Entry(number, value)) for number, (key, value) in enumerate(said, start=1))),)


@given(st.lists(entries, min_size=1, max_size=5), st.integers(0, 1 << 63))
def test_what_is_told_is_heard(said, low):
    request = GossipRequest("shop", "a.01", news(*said), Digest(low, 1 << 64, (low, low + 1), (7, 8)))
    reply = GossipReply(news(*said), (Wanted(low, 3),), "why", True)

    assert gossip_codec.request_from_wire(told(request)) == request
    assert gossip_codec.reply_from_wire(answered(reply)) == reply


@given(entries)
def test_an_entry_never_weighs_more_than_it_is_said_to(entry):
    key, value = entry
    empty = gossip_codec.request_to_wire(GossipRequest("shop", "a.01")).ByteSize()

    size = gossip_codec.request_to_wire(GossipRequest("shop", "a.01", news((key, value)))).ByteSize() - empty

    assert size <= size_of(value)


def test_what_is_known_already_is_not_read_again():
    known = write(NO_STATE, "a.01", {"x": 1, "y": 2}, 0.0)
    said = news(("x", Value("t", b"1")), ("y", Value("t", b"2")), ("z", Value("t", b"3")))

    heard = gossip_codec.request_from_wire(told(GossipRequest("shop", "a.01", said)), known).news

    assert [[key for key, _ in item.entries] for item in heard] == [["z"]]
    assert gossip_codec.reply_from_wire(answered(GossipReply(said)), write(known, "a.01", {"z": 3}, 0.0)).news == ()


def test_what_a_later_version_says_is_passed_on_as_it_came():
    later = wire.GossipRequest(cluster="shop", sender="a.01")
    item = later.news.add(owner="a.01")
    item.entries.add(key="dbgrains:of a later version", sequence=1).other.payload = b"new"
    item.entries.add(key=GossipKeys.HEARTBEAT, sequence=2).heartbeat = b"\xff not a heartbeat"

    heard = gossip_codec.request_from_wire(later)
    passed_on = told(heard)

    assert [type(entry.value) for _, entry in heard.news[0].entries] == [Unread, Unread]
    assert passed_on.news == later.news


def test_a_word_of_a_later_version_for_its_state_is_taken_for_a_member_that_runs():
    data = wire.Heartbeat(state="meditating")
    data.member.id = "a.01"
    request = wire.GossipRequest()
    request.news.add(owner="a.01").entries.add(key="k", sequence=1).heartbeat = data.SerializeToString()

    heard = gossip_codec.request_from_wire(request).news[0].entries[0][1].value

    assert isinstance(heard, MemberHeartbeat)
    assert heard.state is MemberState.ACTIVE


def test_a_heartbeat_is_passed_on_in_the_bytes_of_its_owner():
    first = told(GossipRequest("shop", "a.01", news((GossipKeys.HEARTBEAT, MemberHeartbeat(ME)))))

    heard = gossip_codec.request_from_wire(first)
    second = told(replace(heard, sender="b.01"))

    assert second.news == first.news


@pytest.mark.parametrize("contact", Contact)
def test_a_probe_and_its_answer_arrive(contact):
    probe = ProbeRequest("shop", "a.01", ME)

    assert gossip_codec.probe_from_wire(gossip_codec.probe_to_wire(probe)) == probe
    assert gossip_codec.tried_from_wire(gossip_codec.tried_to_wire(ProbeReply(contact))) is contact
    assert gossip_codec.tried_from_wire(wire.ProbeReply(contact="a later word")) is None


class TestSize:
    """Members that host very many kinds, and block lists that are full, must fit through the same door."""

    config = GossipConfig()

    def answer_of(self, said: dict[str, dict[str, object]]) -> int:
        book = GossipBook("me.01", self.config, size_of)
        book.write({"x": 1}, 0.0)
        for owner, written in said.items():
            book.merge(news(*written.items(), owner=owner), 0.0)
        found, _ = book.answer(Digest(0, 1 << 64, (), ()))
        assert found
        return gossip_codec.reply_to_wire(GossipReply(found)).ByteSize()

    def test_of_long_heartbeats_only_so_many_go_into_one_message(self):
        kinds = frozenset(f"{'a kind with a very long name ' * 4}{number}" for number in range(300))
        said = {}
        for number in range(100):
            member = Member(f"m{number}.01", f"h:{number}", kinds)
            said[member.id] = {GossipKeys.HEARTBEAT: MemberHeartbeat(member)}

        size = self.answer_of(said)

        assert 100_000 < size <= self.config.message_bytes_max + 64 * 1024

    def test_a_full_block_list_fits_whatever_reasons_were_given(self):
        known: block_entries.Blocks = {}
        for number in range(block_entries.GOSSIPED_MAX):
            known = block_entries.blocked(known, f"m{number}.01", reason="because " * 10_000, by="a.01", wall=1.0)
        said = block_entries.gossiped(known)

        assert all(len(entry.reason) <= REASON_MAX for _, entry in said)
        assert self.answer_of({"a.01": {GossipKeys.BLOCKED: said}}) < 2 * self.config.message_bytes_max
