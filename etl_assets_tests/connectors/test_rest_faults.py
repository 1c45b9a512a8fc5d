"""Servers that misbehave: every fault ends in one error of ours or in all the rows, never in fewer, and never in waiting for ever."""

import gzip
import json
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
import requests

from etl_assets.accounting import open_account
from etl_assets.connectors.connections import explain
from etl_assets.connectors.csv_text import CsvFormat
from etl_assets.connectors.paging import BodyCursor, HeaderCursor, LinkHeader, NextUrl, Offset, PageNumber, Paginator
from etl_assets.connectors.rest import Endpoint, Post, RestResource
from etl_assets.errors import (
    ConfigurationError,
    EtlError,
    OutcomeUnknownError,
    RateLimitedError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from etl_assets.retry_settings import NO_RETRY, Retry
from etl_assets_tests.datasette_server import serve_rows
from etl_assets_tests.fault_proxy import (
    Asked,
    Fault,
    FaultServer,
    Reply,
    answer,
    behind,
    chunks_cut_after,
    closed_after,
    compressed,
    dripping,
    in_turn,
    promising,
    reset_after,
    within,
)

Serve = Callable[..., FaultServer]
ROWS = [{"id": number, "name": f"row {number}"} for number in range(1, 8)]
IDS = [str(row["id"]) for row in ROWS]
# No test needs longer; what takes longer hangs.
SECONDS = 10
QUICK = Retry(attempts=2, initial_seconds=0.01, jitter=False)


def resource(server: FaultServer, **settings: Any) -> RestResource:
    """The server as a resource that does not retry unless it is told to."""
    return RestResource(base_url=server.origin, **{"retry": NO_RETRY, "timeout_seconds": 5, **settings})


def ids(server: FaultServer, endpoint: Endpoint | str = "rows", **settings: Any) -> list[str]:
    """The column `id` of an endpoint, read before the deadline of all tests."""
    return within(SECONDS, lambda: resource(server, **settings).read(endpoint))["id"].tolist()


# -- in front of a real server -----------------------------------------------------------------------------------------

PLANES = Endpoint("planes.json", parameters={"_shape": "objects", "_size": 3}, records="rows", pages=NextUrl(path="next_url"))


@pytest.fixture(scope="module")
def datasette(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a Datasette over seven planes."""
    with serve_rows(ROWS, tmp_path_factory.mktemp("datasette")) as base_url:
        yield base_url


def through(
    serve: Serve, datasette: str, *faults: Fault | None, afterwards: Fault | None = None, **settings: Any
) -> Callable[[], list[str]]:
    """Reads all planes through a proxy with these faults, one per request."""
    parts = urlsplit(datasette)
    proxy = serve(behind(f"{parts.scheme}://{parts.netloc}", faults, afterwards=afterwards))
    api = RestResource(base_url=f"{proxy.origin}{parts.path}", **{"retry": NO_RETRY, "timeout_seconds": 5, **settings})
    return lambda: within(SECONDS, lambda: api.read(PLANES))["id"].tolist()


def test_a_proxy_without_faults_changes_nothing(serve: Serve, datasette: str) -> None:
    """Through a proxy that does no harm, all pages of Datasette come."""
    assert through(serve, datasette)() == IDS


BREAKS: Mapping[str, Fault] = {
    "reset in the body": reset_after(30),
    "reset before the body": reset_after(0),
    "closed in the body": closed_after(30),
    "chunks cut off": chunks_cut_after(60),
    "length too long": promising(50),
    "gzip cut off": lambda reply: promising(0)(Reply(body=compressed(reply).body[:-20], headers={"Content-Encoding": "gzip"})),
}


@pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_page_that_breaks_off_is_read_again(serve: Serve, datasette: str, fault: Fault, page: int) -> None:
    """A page of Datasette that breaks off once is asked for again, and every row comes once."""
    assert through(serve, datasette, *[None] * (page - 1), fault, retry=QUICK)() == IDS


@pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
def test_a_page_that_always_breaks_off_is_unavailable(serve: Serve, datasette: str, fault: Fault) -> None:
    """When the second page breaks off each time, the reading ends with one error, after all attempts."""
    with pytest.raises(SourceUnavailableError, match="the API does not answer"):
        through(serve, datasette, None, afterwards=fault, retry=QUICK)()


def test_a_length_that_is_too_short_is_no_page(serve: Serve, datasette: str) -> None:
    """A body that is longer than its Content-Length is no JSON, not a shorter page."""
    with pytest.raises(SourceFormatError, match="this is no JSON"):
        through(serve, datasette, None, promising(-20))()


def test_a_drip_in_time_is_read(serve: Serve, datasette: str) -> None:
    """A page that comes byte by byte is read when it comes in time."""
    assert through(serve, datasette, None, dripping(0.0001))() == IDS


@pytest.mark.parametrize("head", [False, True], ids=["body", "head"])
def test_a_drip_that_takes_too_long_is_given_up(serve: Serve, datasette: str, head: bool) -> None:
    """A page that never falls silent, but takes longer than `page_seconds`, is given up at that time."""
    read = through(serve, datasette, None, dripping(0.05, head=head), page_seconds=0.4)
    started = time.monotonic()
    with pytest.raises(SourceFormatError, match=r"planes\.json: the page took longer than 0\.4 s"):
        read()
    assert time.monotonic() - started < 3


def test_a_compressed_page_is_read(serve: Serve, datasette: str) -> None:
    """A page that goes over the wire as gzip is the same page."""
    assert through(serve, datasette, compressed, compressed, compressed)() == IDS


# -- answers that are no pages -----------------------------------------------------------------------------------------

ENDLESS = 10**9
NO_PAGES: Mapping[str, tuple[Reply, type[EtlError], str]] = {
    "HTML": (Reply(body=b"<html>sign in</html>", headers={"Content-Type": "text/html"}), SourceFormatError, "this is no JSON"),
    "nothing": (Reply(status=204, body=b""), SourceFormatError, "this is no JSON"),
    "a part": (answer(ROWS[:3], status=206), SourceFormatError, "answered 206 Partial Content"),
    "no HTTP": (Reply(head=b"hello\r\n\r\n"), SourceUnavailableError, r"does not answer \(hello\)"),
    "a line without an end": (Reply(head=b"HTTP/1.1 200 " + b"x" * 70_000), SourceUnavailableError, "does not answer"),
    "a thousand headers": (
        Reply(head=b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(1000)) + b"\r\n"),
        SourceUnavailableError,
        "more than 100 headers",
    ),
    "chunks without a size": (
        Reply(head=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body=b"zz\r\n[]\r\n0\r\n\r\n"),
        SourceUnavailableError,
        "does not answer",
    ),
    "two lengths": (
        Reply(head=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n"),
        SourceFormatError,
        r"multiple unmatching values \(2, 9\)",
    ),
    "gzip that is none": (Reply(body=b"[1, 2]", headers={"Content-Encoding": "gzip"}), SourceFormatError, "not compressed as announced"),
    "another compression": (Reply(body=b"[]", headers={"Content-Encoding": "br"}), SourceFormatError, "comes as 'br', which was not asked"),
    "a gzip file that is none": (Reply(body=b"\x1f\x8bno gzip"), SourceFormatError, "the gzip file cannot be unpacked"),
    "a gzip file cut off": (Reply(body=gzip.compress(json.dumps(ROWS).encode())[:-9]), SourceFormatError, "cannot be unpacked"),
    "404 that breaks off": (Reply(status=404, body=b"no", promised=999), SourceNotFoundError, "answered 404"),
    "503 that is huge": (Reply(status=503, body=b"x" * 2_000_000), SourceUnavailableError, "answered 503"),
    "400 in gzip": (compressed(Reply(status=400, body=b"no such column")), SourceFormatError, "answered 400 Bad Request: 'no such column'"),
    "a status nobody knows": (Reply(status=999), SourceFormatError, "answered 999"),
    "a redirect to nowhere": (Reply(status=302, headers={"Location": "http://[::1"}), SourceFormatError, "to what is no address"),
    "a redirect without an address": (Reply(status=302), SourceFormatError, "answered 302 Found without an address"),
    "a redirect to itself": (Reply(status=302, headers={"Location": "/rows"}), SourceFormatError, "redirects lead in a circle"),
    "a redirect with a huge body": (Reply(status=302, body=b"x" * 2_000_000, headers={"Location": "/rows"}), SourceFormatError, "circle"),
    "interim answers for ever": (
        Reply(before=(b"HTTP/1.1 100 Continue\r\n\r\n" for _ in range(ENDLESS))),
        SourceFormatError,
        "the page took longer than 1 s",
    ),
    "headers for ever": (
        Reply(before=(b"HTTP/1.1 200 OK\r\nX-Y: z" if number == 0 else b"z" for number in range(ENDLESS)), drip_seconds=0.01),
        SourceUnavailableError,
        "does not answer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("given", NO_PAGES.values(), ids=NO_PAGES)
def test_an_answer_that_is_no_page_is_one_error(serve: Serve, given: tuple[Reply, type[EtlError], str]) -> None:
    """What is no page ends the reading with the error whose recovery fits, whatever was wrong with it."""
    reply, kind, said = given
    with pytest.raises(kind, match=said):
        ids(serve(lambda asked: reply), page_seconds=1, page_bytes=100_000)


def test_a_connection_that_is_closed_at_once_is_unavailable(serve: Serve) -> None:
    """A server that ends the connection without a word does not answer."""
    with pytest.raises(SourceUnavailableError, match="does not answer"):
        ids(serve(lambda asked: Reply(head=b"", body=b"")))


def test_the_words_of_an_error_do_not_hold_it_up(serve: Serve) -> None:
    """The words of an error that drip are waited for two seconds, however long a page may take."""
    started = time.monotonic()
    with pytest.raises(SourceNotFoundError):
        ids(serve(lambda asked: Reply(status=404, body=b"x" * 10_000, drip_seconds=0.2)))
    assert time.monotonic() - started < 4


def test_silence_beyond_the_time_of_a_page_is_given_up(serve: Serve) -> None:
    """A silence that may be longer than a page may take ends with the time of the page."""
    started = time.monotonic()
    with pytest.raises(SourceFormatError, match=r"the page took longer than 0\.3 s"):
        ids(serve(lambda asked: answer(ROWS, drip_seconds=60)), page_seconds=0.3)
    assert time.monotonic() - started < 3


def test_silence_after_the_head_is_unavailable(serve: Serve) -> None:
    """A body of which nothing comes any more is given up after `timeout_seconds`."""
    with pytest.raises(SourceUnavailableError, match="timed out"):
        ids(serve(lambda asked: answer(ROWS, drip_seconds=60)), timeout_seconds=0.2)


# -- text formats, where a cut does not show by itself -----------------------------------------------------------------

CSV = "id,name\n" + "".join(f"{row['id']},{row['name']}\n" for row in ROWS)
LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS)
TEXTS = [pytest.param(CsvFormat(), CSV, id="CSV"), pytest.param("jsonl", LINES, id="JSON lines")]


@pytest.mark.parametrize(("format_", "text"), TEXTS)
@pytest.mark.parametrize(
    "wrong",
    [
        lambda body: Reply(body=body, cut_after=len(body) // 2),
        lambda body: Reply(body=body, cut_after=len(body) // 2, cut_by="reset"),
        lambda body: Reply(body=body, chunked=True, cut_after=len(body) // 2),
        lambda body: Reply(body=gzip.compress(body)[:-12], headers={"Content-Encoding": "gzip"}),
        lambda body: Reply(body=gzip.compress(body)[:-12], headers={"Content-Encoding": "gzip"}, promised=-1),
        lambda body: Reply(body=gzip.compress(body)[:-12]),
        lambda body: Reply(body=body[: body.rindex(b"\n", 0, -1) + 1], promised=-1),
        lambda body: Reply(body=b"", promised=-1),
        lambda body: Reply(body=b"", headers={"Content-Encoding": "gzip"}, promised=-1),
    ],
    ids=["closed", "reset", "chunks", "gzip", "gzip without a length", "gzip file", "without a length", "nothing", "nothing in gzip"],
)
def test_a_text_that_is_cut_is_an_error(serve: Serve, format_: Any, text: str, wrong: Callable[[bytes], Reply]) -> None:
    """A text that ends early is an error also where it ends between two lines and what came can be read."""
    with pytest.raises((SourceUnavailableError, SourceFormatError)), open_account():
        ids(serve(lambda asked: wrong(text.encode())), Endpoint("rows", format=format_))


@pytest.mark.parametrize(("format_", "text"), TEXTS)
@pytest.mark.parametrize(
    "right",
    [
        lambda body: Reply(body=body),
        lambda body: Reply(body=body, chunked=True),
        lambda body: compressed(Reply(body=body)),
        lambda body: Reply(body=gzip.compress(body), headers={"Content-Encoding": "gzip"}, promised=-1),
        lambda body: Reply(body=gzip.compress(body)),
        lambda body: Reply(body=gzip.compress(body), promised=-1),
        lambda body: Reply(body=gzip.compress(body[:20]) + gzip.compress(body[20:]), headers={"Content-Encoding": "gzip"}),
        lambda body: Reply(body=gzip.compress(body) + b"\0" * 100, headers={"Content-Encoding": "gzip"}),
        lambda body: compressed(Reply(body=gzip.compress(body))),
    ],
    ids=["length", "chunks", "gzip", "gzip without a length", "gzip file", "gzip file without a length", "two members", "padding", "both"],
)
def test_a_text_that_says_where_it_ends_is_read(serve: Serve, format_: Any, text: str, right: Callable[[bytes], Reply]) -> None:
    """A text is read whole, however its length is told and however it is compressed."""
    assert ids(serve(lambda asked: right(text.encode())), Endpoint("rows", format=format_)) == IDS


def test_json_without_a_length_is_read(serve: Serve) -> None:
    """JSON shows itself where it ends, so its length need not be told."""
    assert ids(serve(lambda asked: answer(ROWS, promised=-1))) == IDS


# -- bombs -------------------------------------------------------------------------------------------------------------

BOMB = gzip.compress(b" " * 64_000_000)


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {}], ids=["Content-Encoding", "gzip file"])
def test_a_bomb_is_not_unpacked(serve: Serve, headers: Mapping[str, str]) -> None:
    """A page that unpacks to a thousand times its size is given up before it takes more memory than a page may."""
    server = serve(lambda asked: Reply(body=BOMB, headers=headers))
    tracemalloc.start()
    try:
        with pytest.raises(SourceFormatError, match="larger than 1000000 bytes"):
            ids(server, page_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_page_of_the_largest_size_is_read(serve: Serve) -> None:
    """A page as large as a page may be is read, one byte less is not enough."""
    body = json.dumps(ROWS).encode()
    server = serve(lambda asked: compressed(Reply(body=body)))
    assert ids(server, page_bytes=len(body)) == IDS
    with pytest.raises(SourceFormatError, match="the page is larger than"):
        ids(server, page_bytes=len(body) - 1)


def numbered(asked: Asked) -> Mapping[str, Any]:
    """Pages without an end, no two of which are equal, all of one size."""
    number = int(asked.query.get("cursor", 1000))
    return {"data": [{"id": number}], "next": number + 1}


ENDLESSLY = Endpoint("rows", records="data", pages=BodyCursor(path="next"), max_pages=100_000)


@pytest.mark.parametrize(
    "pack", [lambda reply: reply, compressed, lambda reply: Reply(body=gzip.compress(reply.body))], ids=["as it is", "gzip", "gzip file"]
)
def test_all_pages_together_are_bounded(serve: Serve, pack: Callable[[Reply], Reply]) -> None:
    """Pages are added up as they are after decompression, whichever way they were compressed."""
    server = serve(lambda asked: pack(answer(numbered(asked))))
    with pytest.raises(SourceFormatError, match="the pages are larger than 100 bytes in all"):
        ids(server, ENDLESSLY, read_bytes=100)
    # {"data": [{"id": 1000}], "next": 1001} are 38 bytes: 76 after two pages, 114 after three.
    assert len(server.asked) == 3


def test_the_whole_read_is_bounded_in_time(serve: Serve) -> None:
    """Pages that each come in time, and never end, end after `read_seconds`."""
    server = serve(lambda asked: answer(numbered(asked), drip_seconds=0.0005))
    with pytest.raises(SourceFormatError, match=r"the read took longer than 0\.5 s"):
        ids(server, ENDLESSLY, read_seconds=0.5)


def test_the_last_page_of_a_read_is_bounded_in_time(serve: Serve) -> None:
    """A page that drips beyond `read_seconds` is not read to its own limit."""
    started = time.monotonic()
    with pytest.raises(SourceFormatError, match=r"the read took longer than 0\.3 s"):
        ids(serve(lambda asked: answer(ROWS, drip_seconds=0.05)), read_seconds=0.3)
    assert time.monotonic() - started < 3


def test_nothing_is_asked_after_the_time_of_a_read(serve: Serve) -> None:
    """When a wait used up `read_seconds`, no request follows it."""
    server = serve(lambda asked: answer(numbered(asked)))
    with pytest.raises(SourceFormatError, match=r"the read took longer than 0\.2 s"):
        ids(server, ENDLESSLY, read_seconds=0.2, requests_per_second=2)
    assert len(server.asked) == 1


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answered", "kind"), [(False, ConfigurationError), (True, SourceUnavailableError)])
def test_a_name_that_was_found_before_may_be_found_again(answered: bool, kind: type[EtlError]) -> None:
    """A host that nobody knows is misspelt, unless it has answered before: then the name service fails for now."""
    with pytest.raises(requests.ConnectionError) as caught, requests.Session() as session:
        session.get("https://no.such.host.invalid/")
    assert isinstance(explain(caught.value, "rows", answered=answered), kind)


def test_an_allowed_origin_that_nobody_knows_is_a_matter_of_configuration(serve: Serve) -> None:
    """That the API has answered says nothing of the name of another origin."""
    server = serve(lambda asked: answer({"data": ROWS, "link": "http://no.such.host.invalid/rows"}))
    with pytest.raises(ConfigurationError, match=r"no\.such\.host\.invalid/rows: the host is not known"):
        ids(server, Endpoint("rows", records="data", pages=NextUrl(path="link")), link_origins=["http://no.such.host.invalid"])


# -- answers that ask to wait ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [None, "0", "-1", "soon", format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)])
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_no_wait_gets_the_waits_of_the_policy(
    serve: Serve, status: int, wait: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Retry-After of nothing, of the past or of no sense does not use up all attempts at once."""
    busy = Reply(status=status, headers={} if wait is None else {"Retry-After": wait})
    server = serve(in_turn({"/rows": [busy, busy, answer(ROWS)]}))
    assert ids(server, retry=Retry(attempts=3, initial_seconds=0.05, multiplier=1, jitter=False)) == IDS
    assert len([record for record in caplog.records if "waiting" in record.getMessage()]) == 2


@pytest.mark.parametrize("in_words", [False, True], ids=["seconds", "date"])
def test_a_wait_that_is_asked_for_is_kept(serve: Serve, in_words: bool) -> None:
    """A server that asks for a wait is not asked again before it is over."""
    times: list[datetime] = []

    def script(asked: Asked) -> Reply:
        times.append(datetime.now(UTC))
        # A date has whole seconds, so that of 2 s may be 1 s away.
        wait = format_datetime(times[0] + timedelta(seconds=2), usegmt=True) if in_words else "1"
        return answer(ROWS) if len(times) > 1 else Reply(status=429, headers={"Retry-After": wait})

    assert ids(serve(script), retry=Retry(attempts=2, initial_seconds=0, jitter=False)) == IDS
    assert times[1] - times[0] >= timedelta(seconds=1)


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_of_an_hour_ends_the_reading(serve: Serve, status: int) -> None:
    """A wait that is longer than the policy has is neither kept nor broken: the error says how long it is."""
    server = serve(lambda asked: Reply(status=status, headers={"Retry-After": "3600"}))
    with pytest.raises(SourceUnavailableError, match="asks to wait 3600 s") as caught:
        ids(server, retry=Retry(attempts=5, deadline_seconds=60))
    assert (len(server.asked), caught.value.retry_after_seconds) == (1, 3600)


def test_too_many_requests_are_a_rate_limit(serve: Serve) -> None:
    """429 is the error of a rate limit, also when it is the last one."""
    with pytest.raises(RateLimitedError):
        ids(serve(lambda asked: Reply(status=429)))


# -- pages that do not fit together ------------------------------------------------------------------------------------

SIZE = 3
PAGINATORS: Mapping[str, Paginator] = {
    "page number": PageNumber(size=SIZE),
    "offset": Offset(limit=SIZE),
    "cursor in the body": BodyCursor(path="next"),
    "cursor in a header": HeaderCursor(headers={"X-Next": "cursor"}),
    "address in the body": NextUrl(path="link"),
    "Link header": LinkHeader(),
}


def page_of(rows: Sequence[Mapping[str, Any]], asked: Asked, total: int) -> Reply:
    """The page that a request of any paginator asks for, and every way to the next one."""
    query = asked.query
    start = (int(query["page"]) - 1) * SIZE if "page" in query else int(query.get("offset", query.get("cursor", 0)))
    following = start + SIZE if start + SIZE < len(rows) else None
    link = f"/rows?cursor={following}" if following is not None else None
    headers = {} if following is None else {"X-Next": str(following), "Link": f'<{link}>; rel="next"'}
    return answer({"data": rows[start : start + SIZE], "total": total, "next": following, "link": link}, headers=headers)


@pytest.mark.parametrize("pages", PAGINATORS.values(), ids=PAGINATORS)
def test_pages_that_fit_are_read(serve: Serve, pages: Paginator) -> None:
    """A server that pages well is read whole by every paginator, as the tests below say how it goes wrong."""
    assert ids(serve(lambda asked: page_of(ROWS, asked, 7)), Endpoint("rows", records="data", total="total", pages=pages)) == IDS


@pytest.mark.parametrize("pages", PAGINATORS.values(), ids=PAGINATORS)
@pytest.mark.parametrize("change", ["a row comes", "a row goes"])
def test_rows_that_shift_between_pages_are_noticed(serve: Serve, pages: Paginator, change: str) -> None:
    """When a row is added or removed in front while pages are read, one comes twice or never; the announced total tells."""
    later = [{"id": 0, "name": "new"}, *ROWS] if change == "a row comes" else ROWS[1:]
    server = serve(lambda asked: page_of(ROWS if len(server.asked) == 1 else later, asked, 7 if len(server.asked) == 1 else len(later)))
    with pytest.raises(SourceFormatError, match=r"said 7 records, (6|8) came"):
        ids(server, Endpoint("rows", records="data", total="total", pages=pages))


@pytest.mark.parametrize("pages", PAGINATORS.values(), ids=PAGINATORS)
def test_a_page_that_comes_again_is_noticed(serve: Serve, pages: Paginator) -> None:
    """A server whose pages lead to themselves, or are all the same, is an error of the second page, not a loop."""
    links = {"X-Next": "3", "Link": '</rows?cursor=3>; rel="next"'}
    server = serve(lambda asked: answer({"data": ROWS[:SIZE], "next": "3", "link": "/rows?cursor=3"}, headers=links))
    with pytest.raises(SourceFormatError, match="leads back to a page already read|hold the same records"):
        ids(server, Endpoint("rows", records="data", pages=pages))
    assert len(server.asked) <= 3


@pytest.mark.parametrize("most", [1, 3, 5, 7, 100])
@pytest.mark.parametrize("asked_for", [3, 7, 100])
@pytest.mark.parametrize("total", [None, "total"])
@pytest.mark.parametrize("by", ["page number", "offset"])
def test_a_server_that_gives_fewer_than_it_is_asked_for_is_read_whole(
    serve: Serve, by: str, total: str | None, asked_for: int, most: int
) -> None:
    """However many records a server gives at most on a page, all come once: a short page alone is not the end."""

    def script(asked: Asked) -> Reply:
        size = min(int(asked.query.get("limit", asked.query.get("per_page", ""))), most)
        start = int(asked.query["offset"]) if by == "offset" else (int(asked.query["page"]) - 1) * size
        return answer({"data": ROWS[start : start + size], "total": 7})

    pages = Offset(limit=asked_for) if by == "offset" else PageNumber(size=asked_for)
    assert ids(serve(script), Endpoint("rows", records="data", total=total, pages=pages)) == IDS


@pytest.mark.parametrize("pages", [PageNumber(size=SIZE), Offset(limit=SIZE)], ids=["page number", "offset"])
def test_a_short_page_after_full_ones_is_the_last(serve: Serve, pages: Paginator) -> None:
    """No request is wasted where full pages came before a short one."""
    server = serve(lambda asked: page_of(ROWS, asked, 7))
    ids(server, Endpoint("rows", records="data", pages=pages))
    assert len(server.asked) == 3


def test_a_page_of_a_redirect_does_not_move_the_pages_after_it(serve: Serve) -> None:
    """Pages that are asked for by number are those of the endpoint, also when the first one was redirected with its query."""

    def script(asked: Asked) -> Reply:
        if asked.path == "/rows":
            return Reply(status=307, headers={"Location": f"/rows/?page={asked.query['page']}"})
        start = (int(asked.query["page"]) - 1) * SIZE
        return answer(ROWS[start : start + SIZE])

    server = serve(script)
    assert ids(server, Endpoint("rows", pages=PageNumber())) == IDS
    assert server.targets[2] == "/rows?page=2"


# -- requests that may not be repeated ---------------------------------------------------------------------------------

POSTED = Endpoint("rows", post=Post(body={"query": "all"}))
SAFE = Endpoint("rows", post=Post(body={"query": "all"}, safe=True))
LOST: Mapping[str, Reply] = {
    "reset": answer(ROWS, cut_after=5, cut_by="reset"),
    "closed": answer(ROWS, cut_after=5),
    "503": Reply(status=503),
    "nothing": Reply(head=b"", body=b""),
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_a_post_whose_answer_is_lost_is_not_repeated(serve: Serve, lost: Reply) -> None:
    """A POST that arrived is sent once, and the error says that its outcome is unknown."""
    server = serve(in_turn({"/rows": [lost, answer(ROWS)]}))
    with pytest.raises(OutcomeUnknownError, match=r"was sent, and may have been carried out\. Next: .*safe=True"):
        ids(server, POSTED, retry=QUICK)
    assert len(server.asked) == 1


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_a_safe_post_is_repeated(serve: Serve, lost: Reply) -> None:
    """A POST that only asks is repeated, with its body."""
    server = serve(in_turn({"/rows": [lost, answer(ROWS)]}))
    assert ids(server, SAFE, retry=QUICK) == IDS
    assert [json.loads(asked.body) for asked in server.asked] == [{"query": "all"}] * 2


def test_a_post_that_was_refused_for_its_rate_is_repeated(serve: Serve) -> None:
    """429 says that a POST was not carried out, so it is sent again."""
    server = serve(in_turn({"/rows": [Reply(status=429), answer(ROWS)]}))
    assert ids(server, POSTED, retry=QUICK) == IDS


def test_a_post_that_was_never_sent_is_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    """Where the connection is refused nothing was sent, so a POST is tried again and its outcome is known."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SourceUnavailableError, match="Connection refused"):
        within(SECONDS, lambda: RestResource(base_url=f"http://127.0.0.1:{port}", retry=QUICK).read(POSTED))
    assert "attempt 1 of 2 failed" in caplog.text


# -- what is left of a reading that failed -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [reset_after(5), promising(9), lambda reply: Reply(status=404)], ids=["reset", "length", "404"])
def test_a_reading_that_fails_later_leaves_no_count(serve: Serve, fault: Fault) -> None:
    """When the second page fails, the account has no count of the first one."""
    server = serve(lambda asked: page_of(ROWS, asked, 7) if len(server.asked) == 1 else fault(page_of(ROWS, asked, 7)))
    with open_account() as account, pytest.raises(EtlError):
        resource(server).read(Endpoint("rows", records="data", pages=PageNumber(size=SIZE)))
    assert account.reads == []


def test_batches_come_before_a_later_fault(serve: Serve) -> None:
    """Who reads by batches gets the pages before the fault, and then the error."""
    server = serve(lambda asked: page_of(ROWS, asked, 7) if len(server.asked) == 1 else Reply(status=404))
    batches = resource(server).read_batches(Endpoint("rows", records="data", pages=PageNumber(size=SIZE)))
    assert isinstance(first := next(batches), pd.DataFrame)
    assert first["id"].tolist() == IDS[:SIZE]
    with pytest.raises(SourceNotFoundError):
        next(batches)
