"""Failures: every error that a caller can get arrives as the same error."""

from __future__ import annotations

import pytest

from dbgrains import errors
from dbgrains.errors import (
    ActorFailedError,
    CallCycleError,
    DbgrainsError,
    GrainError,
    MovedError,
    NotHereError,
    Outcome,
    OverloadedError,
    RequestError,
    StorageUnavailableError,
    TopicOverloadedError,
)
from dbgrains.remote.failure import decode_failure, encode_failure
from dbgrains.wire.remote_pb2 import Failure

PLAIN = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type)
    and issubclass(cls, RequestError)
    and cls not in (ActorFailedError, GrainError, MovedError, OverloadedError, StorageUnavailableError)
]


def travelled(error: DbgrainsError) -> DbgrainsError:
    return decode_failure(Failure.FromString(encode_failure(9, error).SerializeToString()))


@pytest.mark.parametrize("cls", PLAIN, ids=lambda cls: cls.__name__)
def test_every_request_error_arrives_as_itself(cls: type[RequestError]):
    error = travelled(cls("what happened"))

    assert type(error) is cls
    assert str(error) == "what happened"
    assert error.outcome is cls("").outcome
    assert error.retryable is cls.retryable


@pytest.mark.parametrize("outcome", Outcome)
def test_what_is_known_about_the_work_arrives(outcome: Outcome):
    assert travelled(NotHereError("x", outcome=outcome)).outcome is outcome


def test_what_a_method_says_about_its_failure_arrives():
    details = {"sku": "tea", "left": 0, "tried": [1, 2.5, None, True, b"x"]}
    error = travelled(
        GrainError(
            "none left", code="out_of_stock", details=details, type_name="KeyError", text="tea", traceback="a\nb"
        )
    )

    assert isinstance(error, GrainError)
    assert (str(error), error.code, error.details) == ("none left", "out_of_stock", details)
    assert (error.type_name, error.text, error.traceback) == ("KeyError", "tea", "a\nb")
    assert error.outcome is Outcome.RAN


@pytest.mark.parametrize(
    "details", [{"what": object()}, {"n": 2**80}, {"text": "x" * 100_000}], ids=["object", "int", "long"]
)
def test_details_that_cannot_travel_are_replaced_by_the_reason(details: dict[str, object]):
    error = travelled(GrainError(code="odd", details=details))

    assert isinstance(error, GrainError)
    assert error.code == "odd"
    assert list(error.details) == ["details_lost"]


def test_the_chain_of_a_cycle_arrives():
    error = travelled(CallCycleError("a waits for itself", chain=["a/1.x", "b/2.y"]))

    assert isinstance(error, CallCycleError)
    assert error.chain == ("a/1.x", "b/2.y")


def test_the_fields_arrive():
    moved = travelled(MovedError("x", member_id="m", address="h:1", lease_left_s=2.25))
    overloaded = travelled(OverloadedError("x", retry_after_s=0.25))
    topic = travelled(TopicOverloadedError("x", retry_after_s=0.75))
    away = travelled(StorageUnavailableError("x", retry_after_s=1.5))
    failed = travelled(ActorFailedError("x", type_name="app.Broken", text="boom"))

    assert isinstance(topic, TopicOverloadedError)
    assert topic.retry_after_s == 0.75
    assert isinstance(moved, MovedError)
    assert (moved.member_id, moved.address, moved.lease_left_s) == ("m", "h:1", 2.25)
    assert isinstance(overloaded, OverloadedError) and overloaded.retry_after_s == 0.25
    assert isinstance(away, StorageUnavailableError) and away.retry_after_s == 1.5
    assert isinstance(failed, ActorFailedError) and (failed.type_name, failed.text) == ("app.Broken", "boom")


def test_an_error_of_the_application_arrives_as_its_nearest_ancestor():
    class OutOfTea(OverloadedError):
        """Ours."""

    assert type(travelled(OutOfTea("no tea"))) is OverloadedError


def test_a_long_or_broken_text_arrives_cut_and_readable():
    error = travelled(NotHereError("\ud800" + "x" * 10_000))

    assert str(error).startswith("\\ud800xxx")
    assert len(str(error)) < 5_000


def test_a_code_from_the_future_is_a_request_error():
    error = decode_failure(Failure(code=999, outcome=77, text="new"))  # type: ignore[arg-type]

    assert type(error) is RequestError
    assert error.outcome is Outcome.MAY_HAVE_RUN
