"""The retry policy: what is tried again, how often, and how long it waits."""

import dataclasses
import itertools
import logging
from collections.abc import Callable

import pytest

from etl_assets.errors import DataError, PermanentError, SourceUnavailableError, TransientError
from etl_assets.retry import NO_RETRY, RetryPolicy

UNAVAILABLE = SourceUnavailableError("https://example.org", "it does not answer.", "try later.")


def failing(times: int, error: Exception = UNAVAILABLE) -> Callable[[], int]:
    """A function that raises the first `times` times and then returns the number of its call."""
    calls = itertools.count(1)

    def function() -> int:
        call = next(calls)
        if call <= times:
            raise error
        return call

    return function


def calls_until_given_up(policy: RetryPolicy, error: Exception = UNAVAILABLE) -> int:
    """How often a function that never succeeds was called."""
    calls: list[int] = []

    def function() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        policy.call(function, doing="reading", sleep=[].append)
    return len(calls)


def waits_of(policy: RetryPolicy) -> list[float]:
    """The waits asked for while a function never succeeds."""
    waits: list[float] = []
    with pytest.raises(TransientError):
        policy.call(failing(1000), doing="reading", sleep=waits.append)
    return waits


def test_success_returns_at_once() -> None:
    """A function that succeeds is called once and its result is returned."""
    assert RetryPolicy().call(failing(0), doing="reading", sleep=[].append) == 1


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_transient_failures_are_tried_again(failures: int) -> None:
    """With four attempts, up to three transient failures are followed by the result of the next call."""
    assert RetryPolicy(attempts=4).call(failing(failures), doing="reading", sleep=[].append) == failures + 1


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_attempts_count_the_first_call(attempts: int) -> None:
    """A function that never succeeds is called `attempts` times in all."""
    assert calls_until_given_up(RetryPolicy(attempts=attempts)) == attempts


def test_last_error_is_raised() -> None:
    """When attempts are used up, the error of the last call is raised itself."""
    errors = [SourceUnavailableError("source", f"failure {number}.", "wait.") for number in range(3)]
    pending = iter(errors)

    def function() -> None:
        raise next(pending)

    with pytest.raises(SourceUnavailableError) as raised:
        RetryPolicy(attempts=3).call(function, doing="reading", sleep=[].append)
    assert raised.value is errors[-1]


@pytest.mark.parametrize(
    "error",
    [PermanentError("a", "b.", "c."), DataError("a", "b.", "c."), ValueError("no"), ConnectionError("no"), KeyError("no")],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_are_raised_at_once(error: Exception) -> None:
    """An error that is not transient ends the call with the first attempt."""
    assert calls_until_given_up(RetryPolicy(attempts=4), error) == 1


def test_no_retry() -> None:
    """`NO_RETRY` calls once."""
    assert calls_until_given_up(NO_RETRY) == 1


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        # 0.5, 0.5 x 2, 0.5 x 2 x 2
        (RetryPolicy(attempts=4, jitter=False), [0.5, 1.0, 2.0]),
        # 1, 1 x 3, 1 x 3 x 3 = 9, held at 5 from there on
        (RetryPolicy(attempts=5, initial_seconds=1, multiplier=3, maximum_seconds=5, jitter=False), [1.0, 3.0, 5.0, 5.0]),
        (RetryPolicy(attempts=3, initial_seconds=2, multiplier=1, jitter=False), [2.0, 2.0]),
        (RetryPolicy(attempts=3, initial_seconds=7, maximum_seconds=4, jitter=False), [4.0, 4.0]),
        (RetryPolicy(attempts=3, initial_seconds=0, jitter=False), [0.0, 0.0]),
        (RetryPolicy(attempts=1, jitter=False), []),
    ],
)
def test_waits_without_jitter(policy: RetryPolicy, waits: list[float]) -> None:
    """Waits start at `initial_seconds`, grow by `multiplier` and stay at `maximum_seconds`."""
    assert waits_of(policy) == waits


def test_jitter_stays_below_the_upper_end() -> None:
    """With jitter, each wait lies between zero and the wait without jitter."""
    drawn = waits_of(RetryPolicy(attempts=40, deadline_seconds=1e9, maximum_seconds=8.0))
    ends = waits_of(RetryPolicy(attempts=40, deadline_seconds=1e9, maximum_seconds=8.0, jitter=False))
    assert all(0 <= wait <= end for wait, end in zip(drawn, ends, strict=True))


def test_jitter_draws() -> None:
    """With jitter, waits at the same upper end differ."""
    assert len(set(waits_of(RetryPolicy(attempts=20, deadline_seconds=1e9, initial_seconds=8.0, multiplier=1.0)))) > 1


def test_deadline_of_zero_calls_once() -> None:
    """A deadline of zero seconds leaves no room for a second attempt."""
    assert calls_until_given_up(RetryPolicy(attempts=4, deadline_seconds=0)) == 1


def test_no_attempt_after_the_deadline() -> None:
    """A wait that would end after the deadline is not begun."""
    # The second attempt would start 10 s after the first, the deadline is at 5 s.
    assert waits_of(RetryPolicy(attempts=4, initial_seconds=10, deadline_seconds=5, jitter=False)) == []


@pytest.mark.parametrize("said", ["reading page 3", "attempt 1 of 2", "it does not answer", "waiting 0.5 s"])
def test_wait_is_logged(said: str, caplog: pytest.LogCaptureFixture) -> None:
    """Before each wait a log line says what is tried, how often, what failed and how long the wait is."""
    with caplog.at_level(logging.WARNING, logger="etl_assets.retry"):
        RetryPolicy(attempts=2, jitter=False).call(failing(1), doing="reading page 3", sleep=[].append)
    assert said in caplog.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 0),
        ("attempts", -1),
        ("deadline_seconds", -0.1),
        ("initial_seconds", -1),
        ("maximum_seconds", -1),
        ("multiplier", 0.9),
    ],
)
def test_impossible_policy_is_refused(field: str, value: float) -> None:
    """A policy that cannot be meant is refused by a message that names the field."""
    with pytest.raises(ValueError, match=field):
        RetryPolicy(**{field: value})  # type: ignore[arg-type]


def test_policy_is_frozen() -> None:
    """A policy cannot be changed after it was made."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        RetryPolicy().attempts = 2  # type: ignore[misc]
