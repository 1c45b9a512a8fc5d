"""Every paginator against a server that pages that way, and what keeps a reading from going on for ever."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from etl_assets.connectors.credentials import ApiKey, BasicAuth, BearerToken, NoAuth
from etl_assets.connectors.paging import BodyCursor, HeaderCursor, LinkHeader, NextUrl, Offset, PageNumber, Paginator, SinglePage
from etl_assets.connectors.rest import Endpoint, RestResource
from etl_assets.errors import AuthenticationError, ConfigurationError, SourceFormatError, SourceUnavailableError
from etl_assets.retry_settings import NO_RETRY

ROWS = [{"id": number} for number in range(1, 8)]
SIZE = 3
Asked = Mapping[str, str]
Reply = tuple[int, Any, Mapping[str, str]]


class Api:
    """A server on loopback; `reply` gets path, query and headers of each request."""

    def __init__(self, reply: Callable[[str, Asked, Mapping[str, str]], Reply]) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                status, body, headers = reply(parts.path, query, dict(self.headers))
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Api]]:
    """Makes servers that are closed at the end."""
    made: list[Api] = []

    def make(reply: Callable[[str, Asked, Mapping[str, str]], Reply]) -> Api:
        made.append(Api(reply))
        return made[-1]

    yield make
    for api in made:
        api.close()


def slice_from(start: int) -> list[dict[str, int]]:
    return ROWS[start : start + SIZE]


def by_number(path: str, query: Asked, headers: Mapping[str, str]) -> Reply:
    return 200, {"rows": slice_from((int(query["page"]) - 1) * SIZE), "meta": {"pages": 3, "total": len(ROWS)}}, {}


def by_offset(path: str, query: Asked, headers: Mapping[str, str]) -> Reply:
    start = int(query["offset"])
    return 200, {"rows": ROWS[start : start + int(query["limit"])]}, {}


def by_body_cursor(path: str, query: Asked, headers: Mapping[str, str]) -> Reply:
    start = int(query.get("cursor", "0"))
    following = start + SIZE if start + SIZE < len(ROWS) else None
    return 200, {"rows": slice_from(start), "meta": {"next": following}}, {}


def by_header_cursor(path: str, query: Asked, headers: Mapping[str, str]) -> Reply:
    start = int(query.get("after", "0"))
    return 200, {"rows": slice_from(start)}, {"X-Next": str(start + SIZE)} if start + SIZE < len(ROWS) else {}


def by_link_header(path: str, query: Asked, headers: Mapping[str, str]) -> Reply:
    start = int(query.get("start", "0"))
    more = {"Link": f'</rows?start={start + SIZE}>; rel="next", </rows>; rel="first"'} if start + SIZE < len(ROWS) else {}
    return 200, {"rows": slice_from(start)}, more


def by_next_url(path: str, query: Asked, headers: Mapping[str, str]) -> Reply:
    start = int(query.get("start", "0"))
    return 200, {"rows": slice_from(start), "links": {"next": f"?start={start + SIZE}" if start + SIZE < len(ROWS) else ""}}, {}


@pytest.mark.parametrize(
    ("reply", "pages"),
    [
        (by_number, PageNumber(size=SIZE)),
        (by_number, PageNumber(total_pages="meta.pages")),
        (by_number, PageNumber()),
        (by_offset, Offset(limit=SIZE)),
        (by_offset, Offset(limit=7)),
        (by_body_cursor, BodyCursor(path="meta.next")),
        (by_header_cursor, HeaderCursor(headers={"x-next": "after"})),
        (by_link_header, LinkHeader()),
        (by_next_url, NextUrl(path="links.next")),
    ],
)
def test_every_record_comes_once(serve: Callable[..., Api], reply: Any, pages: Paginator) -> None:
    """All records of all pages come, in order and once each."""
    frame = RestResource(base_url=serve(reply).url).read(Endpoint("rows", records="rows", pages=pages))
    assert frame["id"].tolist() == [str(row["id"]) for row in ROWS]


def test_single_page(serve: Callable[..., Api]) -> None:
    """Without a paginator one request is made."""
    api = serve(by_next_url)
    assert len(RestResource(base_url=api.url).read(Endpoint("rows", records="rows", pages=SinglePage()))) == SIZE
    assert api.asked == ["/rows"]


def test_total_pages_saves_the_last_request(serve: Callable[..., Api]) -> None:
    """When the body says how many pages there are, no more are asked for."""
    api = serve(by_number)
    RestResource(base_url=api.url).read(Endpoint("rows", records="rows", pages=PageNumber(total_pages="meta.pages")))
    assert len(api.asked) == 3


def test_parameters_go_with_every_page(serve: Callable[..., Api]) -> None:
    """Parameters of the reading are sent with every page that is asked for by parameters."""
    api = serve(by_offset)
    RestResource(base_url=api.url).read(Endpoint("rows", parameters={"year": 2013}, records="rows", pages=Offset(limit=SIZE)))
    assert [asked.count("year=2013") for asked in api.asked] == [1, 1, 1]


def test_total_by_path(serve: Callable[..., Api]) -> None:
    """The announced number of records may lie anywhere in the body."""
    frame = RestResource(base_url=serve(by_number).url).read(
        Endpoint("rows", records="rows", pages=PageNumber(size=SIZE), total="meta.total")
    )
    assert len(frame) == 7


def test_server_that_ignores_the_page_number(serve: Callable[..., Api]) -> None:
    """A server that gives the same page whatever is asked is noticed at the second one."""
    api = serve(lambda path, query, headers: (200, ROWS[:SIZE], {}))
    with pytest.raises(SourceFormatError, match="pages 1 and 2 hold the same records"):
        RestResource(base_url=api.url).read(Endpoint("rows", pages=PageNumber(size=SIZE)))


def test_cursor_that_comes_back(serve: Callable[..., Api]) -> None:
    """A cursor that was followed before ends the reading with an error."""
    answers = iter(range(100))
    api = serve(lambda path, query, headers: (200, {"rows": [{"id": next(answers)}], "next": "same"}, {}))
    with pytest.raises(SourceFormatError, match="leads back"):
        RestResource(base_url=api.url).read(Endpoint("rows", records="rows", pages=BodyCursor(path="next")))


@pytest.mark.parametrize("pages", [NextUrl(path="a["), BodyCursor(path="]")])
def test_path_that_is_none(serve: Callable[..., Api], pages: Paginator) -> None:
    """A path that is no JMESPath expression is a configuration error."""
    with pytest.raises(ConfigurationError, match="no JMESPath expression"):
        RestResource(base_url=serve(by_next_url).url).read(Endpoint("rows", records="rows", pages=pages))


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        (BearerToken(token="sesame"), "Authorization", "Bearer sesame"),
        (BasicAuth(username="me", password="sesame"), "Authorization", "Basic bWU6c2VzYW1l"),
        (ApiKey(value="sesame"), "X-API-Key", "sesame"),
        (ApiKey(name="X-Other", value="sesame", place="header"), "X-Other", "sesame"),
        (ApiKey(name="session", value="sesame", place="cookie"), "Cookie", "session=sesame"),
        (NoAuth(), "Authorization", None),
    ],
)
def test_credentials_go_with_every_page(serve: Callable[..., Api], auth: Any, header: str, value: str | None) -> None:
    """Credentials are sent with every page, where they belong."""
    seen: list[str | None] = []

    def reply(path: str, query: Asked, headers: Mapping[str, str]) -> Reply:
        seen.append(headers.get(header))
        return by_next_url(path, query, headers)

    RestResource(base_url=serve(reply).url, auth=auth).read(Endpoint("rows", records="rows", pages=NextUrl(path="links.next")))
    assert seen == [value] * 3


def test_key_in_the_query(serve: Callable[..., Api]) -> None:
    """An API key can be a query parameter, beside others, on every page."""
    api = serve(by_next_url)
    key = ApiKey(name="key", value="se same&", place="query")
    frame = RestResource(base_url=api.url, auth=key).read(Endpoint("rows", records="rows", pages=NextUrl(path="links.next")))
    assert [asked.count("key=se+same%26") for asked in api.asked] == [1, 1, 1]
    assert "same" not in " ".join(frame["source_position"])


def test_key_stays_at_home(serve: Callable[..., Api]) -> None:
    """A next link to another origin gets nothing, no credential and no request."""
    foreign = serve(by_next_url)
    home = serve(lambda path, query, headers: (200, {"rows": [{"id": 1}], "next": f"{foreign.url}rows"}, {}))
    with pytest.raises(SourceFormatError, match="another origin"):
        RestResource(base_url=home.url, auth=ApiKey(value="sesame")).read(Endpoint("rows", records="rows", pages=NextUrl(path="next")))
    assert foreign.asked == []


def test_redirect_gets_no_credential(serve: Callable[..., Api]) -> None:
    """A redirect to another origin is not followed."""
    foreign = serve(by_next_url)
    home = serve(lambda path, query, headers: (302, b"", {"Location": f"{foreign.url}rows"}))
    with pytest.raises(SourceFormatError, match="302"):
        RestResource(base_url=home.url, auth=ApiKey(value="sesame")).read("rows")
    assert foreign.asked == []


def test_refused_credentials_are_not_shown(serve: Callable[..., Api]) -> None:
    """A refusal says so without the credential."""
    api = serve(lambda path, query, headers: (401, b"who?", {}))
    with pytest.raises(AuthenticationError) as caught:
        RestResource(base_url=api.url, auth=ApiKey(value="sesame", place="query", name="key")).read("rows")
    assert "sesame" not in str(caught.value)


def test_page_that_is_too_large(serve: Callable[..., Api]) -> None:
    """A page larger than allowed is given up before it is taken whole."""
    api = serve(lambda path, query, headers: (200, b"[" + b" " * 1_000_000 + b"]", {}))
    with pytest.raises(SourceFormatError, match="larger than 100000 bytes"):
        RestResource(base_url=api.url, page_bytes=100_000).read("rows")


def test_compressed_page_is_measured_unpacked(serve: Callable[..., Api]) -> None:
    """A small compressed body that unpacks to a huge one is given up too."""
    import gzip

    bomb = gzip.compress(b" " * 50_000_000)
    api = serve(lambda path, query, headers: (200, bomb, {"Content-Encoding": "gzip"}))
    assert len(bomb) < 100_000
    with pytest.raises(SourceFormatError, match="larger than 100000 bytes"):
        RestResource(base_url=api.url, page_bytes=100_000).read("rows")


def test_wait_that_is_too_long_ends_at_once(serve: Callable[..., Api]) -> None:
    """A server that asks for an hour is not asked again earlier, and not waited for."""
    api = serve(lambda path, query, headers: (429, b"", {"Retry-After": "3600"}))
    with pytest.raises(SourceUnavailableError, match="asks to wait 3600 s") as caught:
        RestResource(base_url=api.url).read("rows")
    assert (len(api.asked), caught.value.retry_after_seconds) == (1, 3600.0)


@pytest.mark.parametrize("value", ["0", "-5", "soon", "Mon, 23 Nov 2020 18:59:33 GMT"])
def test_wait_of_nothing_is_no_wish(serve: Callable[..., Api], value: str) -> None:
    """Retry-After of zero, of the past, or of no sense leaves the waiting to the policy."""
    api = serve(lambda path, query, headers: (503, b"", {"Retry-After": value}))
    with pytest.raises(SourceUnavailableError) as caught:
        RestResource(base_url=api.url, retry=NO_RETRY).read("rows")
    assert caught.value.retry_after_seconds is None


def test_wait_by_date(serve: Callable[..., Api]) -> None:
    """Retry-After may be a date."""
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    api = serve(lambda path, query, headers: (429, b"", {"Retry-After": later}))
    with pytest.raises(SourceUnavailableError) as caught:
        RestResource(base_url=api.url).read("rows")
    assert caught.value.retry_after_seconds == pytest.approx(3600, abs=5)


def test_short_wait_is_obeyed(serve: Callable[..., Api]) -> None:
    """A server that asks for a second gets it, and is then read."""
    times: list[datetime] = []

    def reply(path: str, query: Asked, headers: Mapping[str, str]) -> Reply:
        times.append(datetime.now(UTC))
        return (429, b"", {"Retry-After": "1"}) if len(times) == 1 else (200, ROWS, {})

    assert len(RestResource(base_url=serve(reply).url).read("rows")) == 7
    assert times[1] - times[0] >= timedelta(seconds=1)


@pytest.mark.parametrize("size", [0, -1])
def test_size_of_nothing_is_refused(size: int) -> None:
    """Pages of no records would look like an empty source."""
    with pytest.raises(ConfigurationError, match="size is at least 1"):
        PageNumber(size=size)
    with pytest.raises(ConfigurationError, match="limit is at least 1"):
        Offset(limit=size)


@pytest.mark.parametrize(
    ("path", "fine"),
    [
        ("next", True),
        ("links.next", True),
        ('"@odata.next"', True),
        ('links."next page"', True),
        ("all[0].next", True),
        ("nxt", False),
        ("links.nxt", False),
        ("link.next", False),
        ('"@odata.nextlink"', False),
        ('links."nextpage"', False),
        ("all[0].nxt", False),
        ("all[?rel == 'next'].next | [0]", False),
        ("next.deeper", False),
    ],
)
@pytest.mark.parametrize("pages", [NextUrl, BodyCursor])
def test_misspelt_path_is_refused(serve: Callable[..., Api], pages: Any, path: str, fine: bool) -> None:
    """A path that leads to nothing on the first page is an error however it is written, as one page would look like all of them."""
    document = {"next": "", "links": {"next": "", "next page": ""}, "@odata.next": "", "all": [{"next": "", "rel": "last"}], "rows": ROWS}
    api = RestResource(base_url=serve(lambda path, query, headers: (200, document, {})).url)
    if fine:
        assert len(api.read(Endpoint("rows", records="rows", pages=pages(path=path)))) == 7
    else:
        with pytest.raises(SourceFormatError, match="optional=True"):
            api.read(Endpoint("rows", records="rows", pages=pages(path=path)))
    assert len(api.read(Endpoint("rows", records="rows", pages=pages(path=path, optional=True)))) == 7


@pytest.mark.parametrize("found", [{"href": "/more"}, ["/more"], True])
@pytest.mark.parametrize("pages", [NextUrl, BodyCursor])
def test_path_to_what_is_no_text_is_refused(serve: Callable[..., Api], pages: Any, found: Any) -> None:
    """A path that leads to an object, a list or a boolean is one step too short, not an address."""
    api = RestResource(base_url=serve(lambda path, query, headers: (200, {"rows": ROWS, "next": found}, {})).url)
    with pytest.raises(SourceFormatError, match="'next' should lead to the next page, it leads to a (dict|list|bool)"):
        api.read(Endpoint("rows", records="rows", pages=pages(path="next")))


@pytest.mark.parametrize(
    ("headers", "asked"),
    [({"X-A": "1", "X-B": "2"}, ["/rows", "/rows?a=1&b=2"]), ({"X-A": "1"}, ["/rows", "/rows?a=1"]),
     ({"x-b": "2"}, ["/rows", "/rows?b=2"]), ({}, ["/rows"])],
)  # fmt: skip
def test_cursor_of_several_headers(serve: Callable[..., Api], headers: Mapping[str, str], asked: list[str]) -> None:
    """Each header that is there is sent back by its parameter; without any the reading ends."""
    api = serve(lambda path, query, given: (200, [{"id": 1 + len(query)}], headers if not query else {}))
    RestResource(base_url=api.url).read(Endpoint("rows", pages=HeaderCursor(headers={"X-A": "a", "X-B": "b"})))
    assert api.asked == asked


def test_cursor_of_no_header_is_refused() -> None:
    """A cursor without a header would read one page."""
    with pytest.raises(ConfigurationError, match="it names no header"):
        HeaderCursor(headers={})


@pytest.mark.parametrize(
    "link",
    ['</rows?start=3>; rel="next"', "</rows?start=3>; rel=next", '</rows?start=3>; rel="next last"', '</rows?start=3>; REL="Next"',
     '</rows>; rel="first", </rows?start=3>; rel="next"', '</rows?start=3>; title="a, b"; rel="next"'],
)  # fmt: skip
def test_link_header_spellings(serve: Callable[..., Api], link: str) -> None:
    """The next page is found however the header Link is written."""
    api = serve(lambda path, query, headers: (200, slice_from(int(query.get("start", 0)))[:1], {} if query else {"Link": link}))
    RestResource(base_url=api.url).read(Endpoint("rows", pages=LinkHeader()))
    assert api.asked == ["/rows", "/rows?start=3"]
