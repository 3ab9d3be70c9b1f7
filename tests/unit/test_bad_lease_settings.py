"""Settings of leases that cannot work, and the sentence that says why; each row of the table is one mistake."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dbgrains import ClusterConfig, ConfigError, LeaseConfig
from dbgrains.redisio.deployment import parse_deployment
from dbgrains.sansio.identity import check_name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ttl_s": 0}, "ttl_s: got 0; expected a number > 0"),
        ({"ttl_s": -1}, "ttl_s: got -1; expected a number > 0"),
        ({"ttl_s": 1e9}, "ttl_s: got 1000000000.0; expected a number > 0 and <= 3600"),
        ({"ttl_s": math.nan}, "ttl_s: got nan; expected a number > 0"),
        ({"ttl_s": math.inf}, "ttl_s: got inf; expected a number > 0"),
        ({"ttl_s": "8"}, "ttl_s: got '8' (str); expected a number > 0"),
        ({"ttl_s": True}, "ttl_s: got True (bool); expected a number > 0"),
        ({"ttl_s": 0.1}, "ttl_s >= 2"),
        ({"ttl_s": 601, "quarantine_s": 700}, "ttl_s <= 600"),
        ({"renew_interval_s": 2.5, "gap_s": 2.6, "margin_s": 2.7}, "margin_s + 2 * renew_interval_s < ttl_s"),
        ({"margin_s": 4.0}, "margin_s + 2 * renew_interval_s < ttl_s"),
        ({"gap_s": 0.7}, "renew_interval_s < gap_s"),
        ({"gap_s": 1.3}, "gap_s <= margin_s"),
        ({"quarantine_s": 4.9}, "quarantine_s >= ttl_s"),
        ({"storage_timeout_s": 0.75}, "storage_timeout_s < renew_interval_s"),
        ({"margin_s": 0.4, "gap_s": 0.35, "renew_interval_s": 0.3, "storage_timeout_s": 0.2}, "margin_s >= 0.5"),
        ({"available_s": -1}, "available_s: got -1; expected a number > 0"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_leases_that_cannot_work_are_refused_with_all_numbers(settings: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as raised:
        LeaseConfig(**settings)

    assert said in str(raised.value)
    if ": got" not in said:
        for name in ("ttl_s=", "renew_interval_s=", "margin_s=", "gap_s=", "quarantine_s=", "storage_timeout_s="):
            assert name in str(raised.value)


def test_every_mistake_is_named_at_once():
    with pytest.raises(ConfigError, match="gap_s <= margin_s and quarantine_s >= ttl_s"):
        LeaseConfig(gap_s=1.3, quarantine_s=4)


@pytest.mark.parametrize("identity", [7, b"seven", None])
def test_an_identity_is_text(identity: Any):
    with pytest.raises(TypeError, match=f"identity must be str, got {type(identity).__name__}"):
        check_name("identity", identity)


def test_a_foreign_scheme_is_named():
    with pytest.raises(ConfigError, match=r"redis url: got scheme 'http'; expected redis://, rediss:// .* or unix://"):
        parse_deployment("http://h")


def test_a_hard_fence_is_one_of_three():
    with pytest.raises(ConfigError, match="hard_fence: got 'on'; expected None, 'off' or 'kill'"):
        ClusterConfig(hard_fence="on")  # type: ignore[arg-type]
