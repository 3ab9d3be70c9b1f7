"""The life of activations: how they start, fail to start, end, and come back."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains import (
    ActivationFailedError,
    ClusterKind,
    FencedError,
    IdentityRefusedError,
    Outcome,
    OverloadedError,
    Props,
    RequestTimeoutError,
    StorageUnavailableError,
)
from dbgrains.cluster.interfaces import Admission, Granted, Later
from dbgrains.lookups.single_node import SingleNodeLookup
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.testing.cluster_fixture import Parts, cluster_of
from tests.integration.grains import MESSAGES, Ask, Diary, Leave, Say, Self, Wait, kinds
from tests.integration.worlds import WORLDS, AloneSite, caller_in, fixture_in
from tests.waiting import until


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.mark.parametrize("world", WORLDS)
class TestInEveryWorld:
    async def test_a_started_turn_comes_before_all_requests(self, world, diary):
        async def slowly(context) -> None:
            await diary.door.wait()

        diary.on_started = slowly
        async with caller_in(world, diary) as caller:
            requests = [asyncio.create_task(caller.request("1", "slow", Say(str(n)))) for n in range(20)]
            await until(lambda: diary.of("1") == ["started"])
            diary.door.set()
            await asyncio.gather(*requests)

            assert diary.of("1") == ["started", *map(str, range(20))]

    async def test_a_failing_start_tells_everybody_who_waits_and_is_not_tried_again_at_once(self, world, diary):
        async def fail(context) -> None:
            raise RuntimeError("no database")

        diary.on_started = fail
        async with caller_in(world, diary) as caller:
            answers = await asyncio.gather(
                *(caller.request("1", "slow", Say("a")) for _ in range(10)), return_exceptions=True
            )

            assert all(isinstance(answer, ActivationFailedError) for answer in answers)
            assert "grain slow/'1' could not be started: RuntimeError: no database" in str(answers[0])
            assert answers[0].outcome is Outcome.NOT_STARTED
            starts = diary.of("1").count("started")
            assert starts < 5
            with pytest.raises(ActivationFailedError):
                await caller.request("1", "slow", Say("a"))

    async def test_a_grain_whose_storage_is_away_when_it_starts_says_so_and_starts_later(self, world, diary):
        away = True

        async def load(context) -> None:
            if away:
                raise StorageUnavailableError("no database", retry_after_s=0.25)

        diary.on_started = load
        async with caller_in(world, diary) as caller:
            with pytest.raises(StorageUnavailableError, match="no database") as error:
                await caller.request("1", "slow", Say("a"))
            away = False

            assert await caller.request("1", "slow", Say("b")) == ["b"]
        assert error.value.retryable
        assert error.value.retry_after_s == 0.25

    async def test_a_grain_that_failed_to_start_can_start_after_a_pause(self, world, diary):
        async def fail_once(context) -> None:
            if diary.of("1").count("started") == 1:
                raise RuntimeError("not yet")

        diary.on_started = fail_once
        async with caller_in(world, diary) as caller:
            with pytest.raises(ActivationFailedError):
                await caller.request("1", "slow", Say("a"))

            async def again() -> object:
                try:
                    return await caller.request("1", "slow", Say("b"))
                except ActivationFailedError:
                    return None

            assert await until(again) == ["b"]

    async def test_a_start_that_hangs_is_cut_off(self, world, diary):
        async def hang(context) -> None:
            await asyncio.Event().wait()

        diary.on_started = hang
        async with caller_in(world, diary, config={"activation_timeout_s": 0.2}) as caller:
            with pytest.raises(ActivationFailedError, match=r"did not finish its Started turn within 0\.2 s"):
                await caller.request("1", "slow", Say("a"))

            assert diary.of("1") == ["started", "stopping", "stopped"]

    async def test_a_grain_that_leaves_comes_back_with_the_next_request(self, world, diary):
        async with caller_in(world, diary) as caller:
            await caller.request("1", "slow", Say("a"))
            assert await caller.request("1", "slow", Leave()) == "left"

            assert await caller.request("1", "slow", Say("b")) == ["b"]
            assert diary.of("1") == ["started", "a", "stopping", "stopped", "started", "b"]

    async def test_what_waits_for_a_grain_that_leaves_is_run_by_the_next_activation_in_order(self, world, diary):
        async with caller_in(world, diary) as caller:
            first = asyncio.create_task(caller.request("1", "slow", Wait("w")))
            await until(lambda: diary.waiting)
            leaving = asyncio.create_task(caller.request("1", "slow", Leave()))
            rest = [asyncio.create_task(caller.request("1", "slow", Say(str(n)))) for n in range(10)]
            await until(lambda: diary.queued("1") == 11)
            diary.door.set()
            await asyncio.gather(first, leaving, *rest)

            events = diary.of("1")
            assert events[:5] == ["started", "w", "w done", "stopping", "stopped"]
            assert events[5:] == ["started", *map(str, range(10))]

    async def test_an_idle_grain_goes_and_a_busy_one_stays(self, world, diary):
        async with caller_in(world, diary, idle_timeout_s=0.3) as caller:
            await caller.request("idle", "slow", Say("a"))
            waiting = asyncio.create_task(caller.request("busy", "slow", Wait()))

            async def kept_awake() -> list[str]:
                await caller.request("used", "slow", Say("a"))
                return diary.of("idle")

            await until(lambda: diary.waiting)
            events = await until(lambda: _when_stopped(kept_awake))

            assert events == ["started", "a", "stopping", "stopped"]
            assert "stopping" not in diary.of("used")
            assert "stopping" not in diary.of("busy")
            diary.door.set()
            await waiting

    async def test_a_predicate_may_wait_and_is_cut_off_when_it_takes_too_long(self, world, diary):
        async def ask(identity: str) -> bool:
            await asyncio.sleep(0 if identity != "slow" else 10)
            return identity != "no"

        async with caller_in(world, diary, can_spawn=ask, config={"can_spawn_timeout_s": 0.2}) as caller:
            assert await caller.request("yes", "slow", Say("a")) == ["a"]
            with pytest.raises(IdentityRefusedError, match="kind 'slow' refuses identity 'no'"):
                await caller.request("no", "slow", Say("a"))
            with pytest.raises(ActivationFailedError, match=r"can_spawn of kind 'slow' did not answer within 0\.2 s"):
                await caller.request("slow", "slow", Say("a"))

            assert [who for who, _ in diary.events] == ["yes", "yes"]

    async def test_a_predicate_that_raises_fails_the_activation(self, world, diary):
        def ask(identity: str) -> bool:
            raise KeyError(identity)

        async with caller_in(world, diary, can_spawn=ask) as caller:
            with pytest.raises(ActivationFailedError, match="can_spawn of kind 'slow' raised KeyError"):
                await caller.request("1", "slow", Say("a"))

    async def test_a_request_with_an_idempotency_key_runs_once(self, world, diary):
        async with caller_in(world, diary) as caller:
            first = asyncio.create_task(caller.request("1", "slow", Wait("w"), idempotency_key="k"))
            await until(lambda: diary.waiting)
            joined = asyncio.create_task(caller.request("1", "slow", Wait("w"), idempotency_key="k"))
            behind = asyncio.create_task(caller.request("1", "slow", Say("behind")))
            await until(lambda: diary.queued("1") == 1)  # so the one before it has arrived as well
            diary.door.set()

            assert await asyncio.gather(first, joined) == ["w", "w"]
            await behind
            assert await caller.request("1", "slow", Wait("w"), idempotency_key="k") == "w"
            assert diary.of("1") == ["started", "w", "w done", "behind"]
            await caller.request("1", "slow", Wait("w"), idempotency_key="other")
            assert diary.of("1").count("w") == 2

    async def test_a_key_whose_request_never_began_can_be_used_again(self, world, diary):
        async with caller_in(world, diary) as caller:
            before = asyncio.create_task(caller.request("1", "slow", Wait("before")))
            await until(lambda: diary.waiting)
            cancelled = asyncio.create_task(caller.request("1", "slow", Say("b"), idempotency_key="l"))
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(RequestTimeoutError):  # by then the cancellation has arrived as well
                await caller.request("1", "slow", Say("a"), 0.2, idempotency_key="k")
            diary.door.set()
            await before

            assert await caller.request("1", "slow", Say("a"), 2.0, idempotency_key="k") == ["a"]
            assert await caller.request("1", "slow", Say("b"), 2.0, idempotency_key="l") == ["a", "b"]

    async def test_who_joins_a_request_by_its_key_may_wait_longer_than_who_made_it(self, world, diary):
        async with caller_in(world, diary) as caller:
            before = asyncio.create_task(caller.request("1", "slow", Wait("before")))
            await until(lambda: diary.waiting)
            hasty = asyncio.create_task(caller.request("1", "slow", Say("a"), 0.1, idempotency_key="k"))
            patient = asyncio.create_task(caller.request("1", "slow", Say("a"), 5.0, idempotency_key="k"))
            with pytest.raises(RequestTimeoutError):
                await hasty
            diary.door.set()
            await before

            assert await patient == ["a"]


async def _when_stopped(probe) -> list[str] | None:
    events = await probe()
    return events if "stopped" in events else None


async def test_the_least_recently_used_grain_goes_when_there_are_too_many(diary):
    async with fixture_in("alone", diary, max_active=3) as fixture:
        caller = fixture.members[0]
        for identity in ["1", "2", "3", "1"]:
            await caller.request(identity, "slow", Say("a"))

        await caller.request("4", "slow", Say("a"))
        await until(lambda: "stopped" in diary.of("2"))

        assert {name.identity for name in caller.activations()} == {"1", "3", "4"}


async def test_no_more_activations_than_allowed(diary):
    async with caller_in("alone", diary, config={"activations_max": 2}) as caller:
        await caller.request("1", "slow", Say("a"))
        await caller.request("2", "quick", Say("a"))

        with pytest.raises(OverloadedError, match="activations_max"):
            await caller.request("3", "slow", Say("a"))
        await caller.request("1", "slow", Leave())
        await until(lambda: caller.activation_count == 1)

        assert await caller.request("3", "slow", Say("a")) == ["a"]


async def test_a_grain_that_asks_itself_waits_for_its_deadline_only(diary):
    async with caller_in("alone", diary, config={"request_timeout_s": 0.3}) as caller:
        with pytest.raises(Exception, match=r"got no answer|RequestTimeoutError"):
            await caller.request("1", "slow", Ask("slow", "1", "me"), timeout=5.0)

        assert await caller.request("1", "slow", Say("a")) == ["a"]


class PatientLookup(SingleNodeLookup):
    """Says "later" until it is told otherwise."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s
        self.is_open = False
        self.asked = 0

    async def admit(self, identity: ClusterIdentity) -> Admission:
        self.asked += 1
        return Granted(self.asked, None) if self.is_open else Later(self.retry_after_s, "quarantine")


class PatientSite(AloneSite):
    def __init__(self, retry_after_s: float) -> None:
        self.lookup = PatientLookup(retry_after_s)

    def parts(self) -> Parts:
        return Parts(provider=None, lookup=self.lookup)


async def test_a_lookup_that_says_later_is_asked_again_while_somebody_can_wait(diary):
    site = PatientSite(0.05)
    async with cluster_of(1, kinds=kinds(diary), messages=MESSAGES, site=site) as fixture:
        caller = fixture.members[0]
        patient = asyncio.create_task(caller.request("1", "slow", Say("a"), timeout=20.0))
        await until(lambda: site.lookup.asked > 2)
        site.lookup.is_open = True

        assert await patient == ["a"]


async def test_who_cannot_wait_as_long_as_the_lookup_says_is_told_at_once(diary):
    site = PatientSite(5.0)
    async with cluster_of(1, kinds=kinds(diary), messages=MESSAGES, site=site) as fixture:
        with pytest.raises(StorageUnavailableError, match="cannot be activated for 5 s: quarantine") as info:
            await fixture.members[0].request("1", "slow", Say("a"), timeout=1.0)

        assert info.value.retry_after_s == 5.0


async def test_leaving_does_not_wait_for_a_lookup_that_says_later(diary):
    site = PatientSite(30.0)
    async with cluster_of(1, kinds=kinds(diary), messages=MESSAGES, site=site) as fixture:
        waiting = asyncio.create_task(fixture.members[0].request("1", "slow", Say("a"), timeout=60.0))
        await until(lambda: site.lookup.asked)

    with pytest.raises(Exception, match=r"leaves|left|stopp"):
        await waiting


async def test_a_dropped_activation_is_cut_off_and_its_caller_told(diary):
    async with fixture_in("alone", diary) as fixture:
        caller = fixture.members[0]
        waiting = asyncio.create_task(caller.request("1", "slow", Wait("w")))
        await until(lambda: diary.waiting)
        node = caller._node
        node.drop(node.find_activation(ClusterIdentity("slow", "1")), "somebody else has it")

        with pytest.raises(FencedError, match="may not act") as info:
            await waiting
        assert info.value.outcome is Outcome.MAY_HAVE_RUN
        assert await caller.request("1", "slow", Say("b")) == ["b"]
        assert "w done" not in diary.of("1")


async def test_a_bad_strategy_is_reported_and_harms_nobody_else(diary):
    class Broken:
        def choose(self, request):
            raise ZeroDivisionError("oops")

    broken = ClusterKind("broken", Props.from_function(lambda context: "x"), member_strategy=Broken())
    async with cluster_of(2, kinds=[*kinds(diary), broken], messages=MESSAGES) as fixture:
        caller = fixture.members[0]
        with pytest.raises(Exception, match=r"lookup failed for broken/'1'.*oops"):
            await caller.request("1", "broken", Self())

        assert await caller.request("1", "slow", Say("a")) == ["a"]
