"""How fast an API is asked and how much is taken of it: tables on a clock of our own, then servers that enforce a limit."""

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pandas as pd
import pytest

from etl_assets.connectors.limits import Caps, Meter, Pace, header, retry_after, says_rate_limited
from etl_assets.connectors.paging import PageNumber
from etl_assets.connectors.rest import Endpoint, RestResource
from etl_assets.errors import AuthenticationError, RateLimitedError, SourceFormatError
from etl_assets.retry import RetryPolicy
from etl_assets.retry_settings import NO_RETRY, Retry
from etl_assets_tests.fault_proxy import Asked, FaultServer, Reply, Script, answer, in_turn, within

Serve = Callable[..., FaultServer]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EPOCH = NOON.timestamp()


class Clock:
    """Time that passes when somebody sleeps, or when it is told to.

    Attributes:
        seconds: Since the start.
        slept: The waits.
    """

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.seconds += seconds

    def read(self) -> float:
        """A monotonic clock."""
        return self.seconds

    def now(self) -> datetime:
        """The time of day; it was noon at the start."""
        return NOON + timedelta(seconds=self.seconds - 1000)


def pace(clock: Clock, per_second: float | None = None, longest_wait: float = 60) -> Pace:
    """A pace on a clock."""
    return Pace(per_second, longest_wait=longest_wait, sleep=clock.sleep, clock=clock.read, now=clock.now)


# -- a declared rate ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_second", "took", "waits"),
    [
        (None, [0, 0, 0], []),
        # 1 / 2 = 0.5 s from one to the next, whatever the answers take.
        (2, [0, 0, 0], [0.5, 0.5]),
        (2, [0.2, 0.2, 0.2], [0.3, 0.3]),
        (2, [0.5, 0.5, 0.5], []),
        # A slow answer saves nothing up: 3 s later the next ones are 0.5 s apart again.
        (2, [3, 0, 0], [0.5]),
        (10, [0, 0.05, 0], [0.1, 0.05]),
        (0.25, [0, 0], [4]),
    ],
)
def test_requests_keep_apart(per_second: float | None, took: list[float], waits: list[float]) -> None:
    """Requests that take so long each have these waits before them."""
    clock = Clock()
    kept = pace(clock, per_second)
    for seconds in took:
        kept.wait("rows")
        clock.seconds += seconds
    assert clock.slept == pytest.approx(waits)


# -- rates that the API announces --------------------------------------------------------------------------------------


def limit(remaining: object, reset: object, prefix: str = "X-RateLimit") -> Mapping[str, str]:
    """Headers of a rate limit."""
    return {f"{prefix}-Remaining": str(remaining), f"{prefix}-Reset": str(reset)}


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, 0),
        (limit(5, 40), 0),
        (limit(1, 40), 0),
        (limit(0, 40), 40),
        (limit(0, 0.25), 0.25),
        (limit(-1, 40), 40),
        (limit(0, 40, "RateLimit"), 40),
        (limit(0, 40, "X-Rate-Limit"), 40),
        (limit(0, 40, "x-ratelimit"), 40),
        # 40 s after noon, as the time of a clock in seconds, and in milliseconds.
        (limit(0, EPOCH + 40), 40),
        (limit(0, int((EPOCH + 40) * 1000)), 40),
        # A reset that is over.
        (limit(0, 0), 0),
        (limit(0, -5), 0),
        (limit(0, EPOCH - 40), 0),
        # What cannot be read says nothing.
        (limit("none", 40), 0),
        (limit(0, "later"), 0),
        (limit(0, ""), 0),
        (limit(0, "nan"), 0),
        (limit("nan", "nan"), 0),
        (limit("inf", 40), 0),
        ({"X-RateLimit-Remaining": "0"}, 0),
        ({"X-RateLimit-Reset": "40"}, 0),
    ],
)
def test_the_announced_reset_is_waited_for(headers: Mapping[str, str], wait: float) -> None:
    """After an answer with these headers the next request waits so long."""
    clock = Clock()
    kept = pace(clock)
    kept.wait("rows")
    kept.heed(headers)
    kept.wait("rows")
    assert clock.slept == ([pytest.approx(wait)] if wait else [])


def test_a_reset_is_waited_for_once() -> None:
    """After the reset requests go on without waits."""
    clock = Clock()
    kept = pace(clock)
    kept.heed(limit(0, 40))
    kept.wait("rows")
    kept.wait("rows")
    assert clock.slept == [40]


def test_the_later_reset_counts() -> None:
    """An earlier reset does not shorten a wait that was announced before."""
    clock = Clock()
    kept = pace(clock)
    kept.heed(limit(0, 40))
    kept.heed(limit(0, 10))
    kept.wait("rows")
    assert clock.slept == [40]


def test_time_that_passed_is_not_waited_for_again() -> None:
    """What has passed since the announcement is taken off the wait."""
    clock = Clock()
    kept = pace(clock)
    kept.heed(limit(0, 40))
    clock.seconds += 15
    kept.wait("rows")
    assert clock.slept == [25]


def test_a_declared_rate_and_a_reset_go_together() -> None:
    """After a reset the declared rate goes on: 40 s, then 0.5 s."""
    clock = Clock()
    kept = pace(clock, per_second=2)
    kept.wait("rows")
    kept.heed(limit(0, 40))
    kept.wait("rows")
    kept.wait("rows")
    assert clock.slept == pytest.approx([40, 0.5])


@pytest.mark.parametrize(("reset", "fine"), [(60, True), (60.5, False), (3600, False), ("inf", False), (EPOCH + 3600, False)])
def test_a_wait_beyond_the_longest_is_an_error(reset: object, fine: bool) -> None:
    """A reset farther away than the longest wait is an error that says how far, and nobody waits."""
    clock = Clock()
    kept = pace(clock, longest_wait=60)
    kept.heed(limit(0, reset))
    if fine:
        kept.wait("rows")
        assert clock.slept == [60]
    else:
        with pytest.raises(RateLimitedError, match="rows: the API allows no request for another"):
            kept.wait("rows")
        assert clock.slept == []


def test_the_error_says_how_long_it_would_be() -> None:
    """The error carries the seconds, for whoever runs it again."""
    kept = pace(Clock(), longest_wait=60)
    kept.heed(limit(0, 3600))
    with pytest.raises(RateLimitedError, match=r"for another 3600 s\. Next: run it again later") as caught:
        kept.wait("rows")
    assert caught.value.retry_after_seconds == pytest.approx(3600)


@pytest.mark.parametrize(("reset", "level"), [(40, logging.WARNING), (1, logging.WARNING), (0.5, logging.DEBUG)])
def test_a_wait_is_told(reset: float, level: int, caplog: pytest.LogCaptureFixture) -> None:
    """Before a wait the log says how long it is; those below a second are for who looks closely."""
    kept = pace(Clock())
    kept.heed(limit(0, reset))
    with caplog.at_level(logging.DEBUG):
        kept.wait("https://api.example.com/rows")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (level, f"https://api.example.com/rows: rate limited, waiting {reset:.0f} s")
    ]


def test_a_refusal_for_the_rate_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The wait that 429 asks for is told in the same words."""
    pending = iter([RateLimitedError("rows", "429.", "wait.", retry_after_seconds=40)])

    def call() -> int:
        for error in pending:
            raise error
        return 1

    RetryPolicy(attempts=2, initial_seconds=0).call(call, doing="GET rows", sleep=[].append)
    assert [record.getMessage() for record in caplog.records] == ["GET rows: rate limited, waiting 40 s"]


# -- headers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("40", 40), (" 40 ", 40), ("1.5", 1.5), ("0", None), ("0.0", None), ("-1", None), ("", None), ("soon", None), ("nan", None),
     ("inf", None), ("1e3", None), ("²", None), ("Mon, 23 Nov 2020 18:59:33 GMT", None), ("Mon, 23 Nov 2020 18:59:33 -0000", None),
     ("Mon, 99 Nov 2020", None)],
)  # fmt: skip
def test_retry_after(value: str, seconds: float | None) -> None:
    """Retry-After is a number of seconds above zero; what is past or cannot be read asks for nothing."""
    assert retry_after({"retry-after": value}) == seconds


@pytest.mark.parametrize("ahead", [10, 3600])
def test_retry_after_may_be_a_date(ahead: int) -> None:
    """A date asks for the seconds until then."""
    value = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    assert retry_after({"Retry-After": value}) == pytest.approx(ahead, abs=2)


@pytest.mark.parametrize(
    ("status", "headers", "limited"),
    [
        (429, {}, True),
        (403, {}, False),
        (403, {"Retry-After": "60"}, True),
        (403, {"Retry-After": "0"}, False),
        (403, {"X-RateLimit-Remaining": "0"}, True),
        (403, {"x-ratelimit-remaining": "0"}, True),
        (403, {"X-RateLimit-Remaining": "5"}, False),
        (401, {"Retry-After": "60"}, False),
        (503, {"Retry-After": "60"}, False),
        (200, {"X-RateLimit-Remaining": "0"}, False),
    ],
)
def test_what_is_a_rate_limit(status: int, headers: Mapping[str, str], limited: bool) -> None:
    """429 is one, and so is 403 in the way of GitHub."""
    assert says_rate_limited(status, headers) is limited


@pytest.mark.parametrize(("names", "found"), [(("B",), "2"), (("X", "a"), "1"), (("X",), ""), (("b", "A"), "2")])
def test_a_header_is_found_in_any_case(names: tuple[str, ...], found: str) -> None:
    """The first of several names that is there counts."""
    assert header({"A": "1", "b": "2"}, *names) == found


# -- the meter ---------------------------------------------------------------------------------------------------------


def meter(clock: Clock, **caps: Any) -> Meter:
    """A meter on a clock."""
    return Meter(Caps(**{"page_bytes": 10**9, "page_seconds": 10**9, "read_bytes": 10**9, "read_seconds": 10**9, **caps}), clock=clock.read)


@pytest.mark.parametrize(
    ("sizes", "fine"), [([100], True), ([50, 50], True), ([101], False), ([50, 51], False), ([], True), ([0, 0], True)]
)
def test_bytes_are_added_up(sizes: list[int], fine: bool) -> None:
    """Up to 100 bytes in all are taken, not one more."""
    counted = meter(Clock(), read_bytes=100)
    with contextlib.nullcontext() if fine else pytest.raises(SourceFormatError, match="rows: the pages are larger than 100 bytes in all"):
        for size in sizes:
            counted.add(size, "rows")


@pytest.mark.parametrize(("seconds", "fine"), [(0, True), (60, True), (60.1, False)])
def test_time_is_measured_from_the_start(seconds: float, fine: bool) -> None:
    """A read may take 60 s from its start, waits included."""
    clock = Clock()
    counted = meter(clock, read_seconds=60)
    clock.sleep(seconds)
    if fine:
        counted.add(1, "rows")
    else:
        with pytest.raises(SourceFormatError, match="rows: the read took longer than 60 s"):
            counted.add(1, "rows")


def test_the_meter_knows_what_is_left() -> None:
    """60 s less the 15 that have passed are 45."""
    clock = Clock()
    counted = meter(clock, read_seconds=60)
    clock.sleep(15)
    assert counted.seconds_left() == 45


def test_a_cap_may_be_endless() -> None:
    """No limit is infinity."""
    clock = Clock()
    counted = meter(clock, read_seconds=math.inf)
    clock.sleep(1e9)
    counted.check("rows")
    assert counted.seconds_left() == math.inf


# -- servers that enforce a limit --------------------------------------------------------------------------------------

ROWS = [{"id": number} for number in range(1, 13)]
IDS = [str(row["id"]) for row in ROWS]
PAGED = Endpoint("rows", pages=PageNumber(size=2))


def rows(asked: Asked) -> Reply:
    """The page of two that is asked for."""
    start = (int(asked.query["page"]) - 1) * 2
    return answer(ROWS[start : start + 2])


def ids(server: FaultServer, endpoint: Endpoint = PAGED, **settings: Any) -> list[str]:
    """The column `id`."""
    api = RestResource(base_url=server.origin, **{"retry": NO_RETRY, "timeout_seconds": 5, **settings})
    return within(20, lambda: api.read(endpoint))["id"].tolist()


def strict(apart: float) -> Script:
    """Refuses every request that comes sooner than `apart` seconds after the one before."""
    last = [-math.inf]

    def script(asked: Asked) -> Reply:
        now = time.monotonic()
        too_fast = now - last[0] < apart
        last[0] = now
        return Reply(status=429) if too_fast else rows(asked)

    return script


def test_a_declared_rate_is_kept(serve: Serve) -> None:
    """A server that refuses requests within 20 ms of each other is read without a refusal at 10 a second."""
    assert ids(serve(strict(0.02)), requests_per_second=10) == IDS


def test_without_a_rate_such_a_server_refuses(serve: Serve) -> None:
    """A server like the one of the test above does refuse what comes faster."""
    with pytest.raises(RateLimitedError):
        ids(serve(strict(5)))


def test_a_declared_rate_is_kept_between_parents(serve: Serve) -> None:
    """All parents of a reading share the rate."""
    enforced = strict(0.02)
    server = serve(lambda asked: answer([{"a": 1}]) if enforced(Asked(method="GET", target="?page=1", headers={}, body=b"")).status == 200
                   else Reply(status=429))  # fmt: skip
    api = RestResource(base_url=server.origin, retry=NO_RETRY, requests_per_second=10)
    assert len(api.read_children(Endpoint("{id}/rows"), pd.DataFrame({"id": list("abcd")}))) == 4


def windowed(most: int, seconds: float, *, announced: bool, how: str = "seconds") -> Script:
    """Takes so many requests in each window of so many seconds, and refuses others."""
    start = [time.monotonic()]
    taken = [0]

    def script(asked: Asked) -> Reply:
        now = time.monotonic()
        if now - start[0] >= seconds:
            start[0], taken[0] = now, 0
        taken[0] += 1
        left = start[0] + seconds - now
        reset = left if how == "seconds" else time.time() + left
        headers = limit(max(most - taken[0], 0), f"{reset:.4f}") if announced else {}
        reply = rows(asked) if taken[0] <= most else Reply(status=429)
        return Reply(status=reply.status, body=reply.body, headers=headers)

    return script


@pytest.mark.parametrize("how", ["seconds", "epoch"])
def test_an_announced_limit_is_kept(serve: Serve, how: str) -> None:
    """A server that takes two requests in 0.2 s and says so is read without a refusal."""
    server = serve(windowed(2, 0.2, announced=True, how=how))
    assert (ids(server), len(server.asked)) == (IDS, 7)


def test_a_limit_that_is_not_announced_is_met_by_waiting(serve: Serve) -> None:
    """A server that only says 429 is read too: each refusal is followed by a wait of the policy."""
    server = serve(windowed(2, 0.2, announced=False))
    assert ids(server, retry=Retry(attempts=10, initial_seconds=0.05, multiplier=1, jitter=False)) == IDS


def test_a_refusal_with_a_reset_is_repeated_after_it(serve: Serve) -> None:
    """429 that says when the limit ends, in the headers of the limit only, is repeated once, after that."""
    times: list[float] = []

    def script(asked: Asked) -> Reply:
        times.append(time.monotonic())
        return Reply(status=429, headers=limit(0, 0.3)) if len(times) == 1 else answer(ROWS)

    ids(serve(script), Endpoint("rows"), retry=Retry(attempts=2, initial_seconds=0, jitter=False))
    assert (len(times), times[1] - times[0] >= 0.3) == (2, True)


def test_the_last_page_is_not_followed_by_a_wait(serve: Serve) -> None:
    """An announcement with the last page keeps nobody waiting."""
    started = time.monotonic()
    ids(serve(lambda asked: Reply(headers=limit(0, 30), body=b'[{"id": 1}]')), Endpoint("rows"))
    assert time.monotonic() - started < 5


def test_a_reset_that_is_too_far_ends_the_reading(serve: Serve) -> None:
    """When the first page says that the next request is an hour away, the reading ends with that, and asks no more."""
    server = serve(lambda asked: Reply(headers=limit(0, 3600), body=rows(asked).body))
    with pytest.raises(RateLimitedError, match="allows no request for another 3600 s"):
        ids(server, retry=Retry(attempts=3, deadline_seconds=60))
    assert len(server.asked) == 1


@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, limit(0, 0.2)], ids=["Retry-After", "no request left"])
def test_403_of_github_is_a_rate_limit(serve: Serve, headers: Mapping[str, str]) -> None:
    """403 that speaks of a limit is repeated after the wait."""
    server = serve(in_turn({"/rows": [Reply(status=403, headers=headers), answer(ROWS)]}))
    assert ids(server, Endpoint("rows"), retry=Retry(attempts=2, initial_seconds=0.01)) == IDS


def test_403_with_requests_left_is_a_refusal(serve: Serve) -> None:
    """403 with requests left is a matter of credentials."""
    with pytest.raises(AuthenticationError):
        ids(serve(lambda asked: Reply(status=403, headers=limit(5, 1))), Endpoint("rows"), retry=Retry(attempts=2))


@pytest.mark.parametrize("status", sorted({408, 425, 429, 500, 502, 503, 504}))
def test_statuses_that_are_transient_are_declared(serve: Serve, status: int) -> None:
    """A status that is left out of transient_statuses is final; 429 never is."""
    server = serve(in_turn({"/rows": [Reply(status=status), answer(ROWS)]}))
    api = RestResource(base_url=server.origin, retry=Retry(attempts=2, initial_seconds=0.01), transient_statuses=[])
    if status == 429:
        assert len(api.read("rows")) == 12
    else:
        with pytest.raises(SourceFormatError, match=f"answered {status}"):
            api.read("rows")


def test_a_status_may_be_declared_transient(serve: Serve) -> None:
    """A status that the API uses for what passes is tried again."""
    server = serve(in_turn({"/rows": [Reply(status=409), answer(ROWS)]}))
    assert ids(server, Endpoint("rows"), retry=Retry(attempts=2, initial_seconds=0.01), transient_statuses=[409]) == IDS


@pytest.mark.parametrize("name", ["requests_per_second", "timeout_seconds", "page_seconds", "page_bytes", "read_seconds", "read_bytes"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_of_nothing_is_refused(name: str, value: int) -> None:
    """A limit of zero or less is refused where it is written."""
    with pytest.raises(ValueError, match=rf"(?s){name}.*greater than 0"):
        RestResource(base_url="http://api.invalid", **{name: value})


def test_two_reads_do_not_share_a_meter(serve: Serve) -> None:
    """Each read has its own caps, so a resource may be used again and again."""
    server = serve(lambda asked: answer(ROWS))
    size = len(answer(ROWS).body)
    api = RestResource(base_url=server.origin, read_bytes=size + 1, retry=NO_RETRY)
    assert [len(api.read("rows")) for _ in itertools.repeat(None, 3)] == [12, 12, 12]
