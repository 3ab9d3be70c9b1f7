"""Who serves which slot, put together from what nodes say; and which Sentinel to believe."""

from __future__ import annotations

import pytest

from dbgrains.redisio.sentinel import Sighting, newest, sighting_of
from dbgrains.redisio.slots import Primary, SlotMap, primaries_of

NODES = """\
a1 127.0.0.1:7000@17000,host-a myself,master - 0 0 3 connected 0-8191 [93-<-b1] [77->-b1]
b1 ::1:7001@17001 master - 0 0 9 connected 8192-16382 16383
c1 127.0.0.1:7002@17002 slave b1 0 0 9 connected
d1 127.0.0.1:7003@17003 master,fail - 0 0 2 disconnected
e1 :0@0 master,noaddr - 0 0 1 disconnected 5
"""


def test_primaries_with_slots_are_read_and_nothing_else():
    assert primaries_of(NODES, ("asked", 1)) == [
        Primary(("127.0.0.1", 7000), 3, ((0, 8191),)),
        Primary(("::1", 7001), 9, ((8192, 16382), (16383, 16383))),
    ]


def test_a_node_that_does_not_know_its_own_address_is_where_it_was_reached():
    [found] = primaries_of("a1 :7000@17000 myself,master - 0 0 0 connected 0-16383", ("h", 1))

    assert found.address == ("h", 7000)


def test_an_older_owner_never_replaces_a_newer_one():
    slots = SlotMap()
    slots.learn([Primary(("new", 1), 9, ((0, 10),))])

    slots.learn([Primary(("old", 1), 3, ((0, 16383),))])

    assert (slots.owner(10), slots.owner(11)) == (("new", 1), ("old", 1))
    assert slots.owners() == {("new", 1), ("old", 1)}
    assert slots.unserved == 0


def test_a_redirection_is_believed_until_somebody_lists_the_slot():
    slots = SlotMap()
    slots.learn([Primary(("a", 1), 9, ((0, 1),))])

    slots.redirected(1, ("b", 1))

    assert slots.owner(1) == ("b", 1)
    slots.learn([Primary(("c", 1), 2, ((1, 1),))])
    assert slots.owner(1) == ("c", 1)


def test_what_nobody_serves_is_counted():
    slots = SlotMap()

    assert slots.unserved == 16384
    assert slots.owner(0) is None


def test_the_latest_epoch_is_believed_and_never_left():
    known = Sighting(5, "new", 1)

    assert newest(None, []) is None
    assert newest(None, [Sighting(1, "old", 1), known, Sighting(3, "older", 1)]) == known
    assert newest(known, [Sighting(1, "old", 1), Sighting(5, "rival", 1)]) == known
    assert newest(known, [Sighting(6, "newest", 1)]) == Sighting(6, "newest", 1)


def test_in_the_middle_of_a_fail_over_the_address_is_the_new_one():
    master = [b"name", b"shop", b"ip", b"old", b"port", b"6999", b"config-epoch", b"4"]

    assert sighting_of(master, [b"h", b"7000"]) == Sighting(4, "h", 7000)


@pytest.mark.parametrize(
    ("master", "address"),
    [
        (None, None),
        ([], [b"h", b"1"]),
        ([b"ip", b"h"], [b"h", b"1"]),
        (4, [b"h", b"1"]),
        ([b"config-epoch", b"4"], None),
    ],
)
def test_anything_else_is_not_an_answer(master: object, address: object):
    with pytest.raises(ValueError, match="not what a Sentinel answers"):
        sighting_of(master, address)
