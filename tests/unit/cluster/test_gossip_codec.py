"""What is gossiped comes out as it went in."""

from __future__ import annotations

import pytest

from dbgrains.cluster import gossip_codec
from dbgrains.sansio.gossip_state import Entry, News
from dbgrains.sansio.heartbeat import GossipKeys
from dbgrains.sansio.membership_messages import GossipRequest
from dbgrains.sansio.token_floor import TokenFloors


@pytest.mark.parametrize("value", [TokenFloors((1_790_000_000_000_000, 0, 7)), TokenFloors(())])
def test_tokens_come_out_as_they_went_in(value: TokenFloors):
    request = GossipRequest("shop", "a.1", (News("a.1", 0, ((GossipKeys.TOKENS, Entry(3, value)),)),))

    sent = gossip_codec.request_to_wire(request).SerializeToString()

    assert gossip_codec.request_from_wire(gossip_codec.wire.GossipRequest.FromString(sent)) == request
