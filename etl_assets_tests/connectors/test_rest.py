"""JSON pages over HTTP: a real Datasette for paging, a small server of our own for faults."""

import base64
import contextlib
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest

from etl_assets.accounting import SOURCE_POSITION, Read, open_account
from etl_assets.connectors.paging import NextUrl
from etl_assets.connectors.rest import Endpoint, RestResource
from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    EtlError,
    PermanentError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from etl_assets.pipelines.nyc_flights.sources.planes_api import serve_planes
from etl_assets.retry_settings import NO_RETRY, Retry


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of the server.

    Attributes:
        status: HTTP status.
        body: What is sent.
        headers: Headers beside Content-Length.
        promised: Content-Length when it differs from the length of the body.
    """

    status: int = 200
    body: bytes = b"[]"
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int | None = None


class Server:
    """An HTTP server on loopback that gives prepared answers and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.authorisations: list[str | None] = []
        self._answers: dict[str, list[Answer]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.authorisations.append(self.headers.get("Authorization"))
                answer = outer.next_answer(self.path)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body) if answer.promised is None else answer.promised))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, *answers: Answer) -> None:
        """Give these answers for a path (with its query), one after the other, the last one for ever."""
        self._answers[path] = list(answers)

    def answer_json(self, path: str, document: object) -> None:
        """Answer a path with a JSON document."""
        self.answer(path, Answer(body=json.dumps(document).encode()))

    def next_answer(self, path: str) -> Answer:
        """The answer that is due."""
        answers = self._answers.get(path, [Answer(status=404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that knows no path yet."""
    with contextlib.closing(Server()) as one:
        yield one


@pytest.fixture
def other() -> Iterator[Server]:
    """A second server: another origin."""
    with contextlib.closing(Server()) as one:
        one.answer_json("/rows", [{"stolen": 1}])
        yield one


@pytest.fixture
def api(server: Server) -> RestResource:
    """The server as a resource that does not retry."""
    return RestResource(base_url=server.origin, timeout_seconds=5, retry=NO_RETRY)


def refused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rows_of(frame: pd.DataFrame) -> list[list[str | None]]:
    """The data cells, with None for NULL."""
    data = frame.drop(columns=SOURCE_POSITION)
    return [[None if pd.isna(value) else value for value in row] for row in data.itertuples(index=False)]


# -- paging, by Datasette ----------------------------------------------------------------------------------------------

PLANES = [("N10156", 2004, "EMBRAER"), ("N102UW", 1998, None), ("N103US", None, "AIRBUS"), ("N104UW", 1999, "NA"), ("N10575", 2002, "")]
DATASETTE: dict[str, Any] = {"records": "rows", "pages": NextUrl(path="next_url"), "total": "filtered_table_rows_count"}


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestResource]:
    """Datasette over five planes."""
    folder = tmp_path_factory.mktemp("datasette")
    with contextlib.closing(sqlite3.connect(folder / "planes.db")) as connection, connection:
        connection.execute("CREATE TABLE planes (tailnum TEXT PRIMARY KEY, year INTEGER, maker TEXT)")
        connection.executemany("INSERT INTO planes VALUES (?, ?, ?)", PLANES)
    with serve_planes(folder / "planes.db", folder / "datasette.log") as base_url:
        yield RestResource(base_url=base_url, retry=NO_RETRY)


@pytest.mark.parametrize("size", [1, 2, 5, 100], ids="{} rows a page".format)
def test_all_pages_are_read(planes: RestResource, size: int) -> None:
    """All records come, once and in order, whatever the size of a page."""
    frame = planes.read(Endpoint("planes.json", parameters={"_shape": "objects", "_size": size}, **DATASETTE))
    assert rows_of(frame) == [[tail, None if year is None else str(year), maker] for tail, year, maker in PLANES]


def test_positions_count_pages_and_records(planes: RestResource) -> None:
    """A position names the endpoint, the page and the record on it, both counted from 1."""
    frame = planes.read(Endpoint("planes.json", parameters={"_shape": "objects", "_size": 2}, **DATASETTE))
    assert frame[SOURCE_POSITION].tolist() == [
        "planes.json page 1 record 1", "planes.json page 1 record 2", "planes.json page 2 record 1",
        "planes.json page 2 record 2", "planes.json page 3 record 1",
    ]  # fmt: skip


def test_without_a_next_key_one_page_is_read(planes: RestResource) -> None:
    """Without a paginator the first page is everything."""
    assert len(planes.read(Endpoint("planes.json", parameters={"_shape": "objects", "_size": 2}, records="rows"))) == 2


def test_records_are_reported_once(planes: RestResource) -> None:
    """One read with the records of all pages reaches the account."""
    with open_account() as account:
        planes.read(Endpoint("planes.json", parameters={"_shape": "objects", "_size": 2}, **DATASETTE))
    assert account.reads == [Read(source=f"{planes.base_url}planes.json", rows=5)]


def test_a_body_that_is_the_list_is_read(planes: RestResource) -> None:
    """Without `records` the body is the list."""
    assert len(planes.read(Endpoint("planes.json", parameters={"_shape": "array", "_size": 100}))) == 5


def test_parameters_are_escaped(planes: RestResource) -> None:
    """A parameter value reaches the server as it is, whatever characters it holds."""
    frame = planes.read(Endpoint("planes.json", parameters={"_shape": "objects", "maker__exact": "A&B=ü %"}, records="rows"))
    assert len(frame) == 0


def test_an_endpoint_that_is_missing_is_not_found(planes: RestResource) -> None:
    """A table that Datasette does not have is not found."""
    with pytest.raises(SourceNotFoundError, match=r"/planes/plains\.json: the API answered 404"):
        planes.read("plains.json")


# -- values and links, by our own server -------------------------------------------------------------------------------


def test_values_arrive_as_text(server: Server, api: RestResource) -> None:
    """Numbers keep their digits, nested values stay JSON, null and missing keys are NULL."""
    server.answer("/rows", Answer(body=b'[{"a": 1.50, "b": {"x": [1e400]}}, {"a": null, "b": 12345678901234567890}, {"b": "NA"}]'))
    assert rows_of(api.read("rows")) == [["1.50", '{"x": [1e400]}'], [None, "12345678901234567890"], [None, "NA"]]


@pytest.mark.parametrize("link", ["/rows?page=2", "?page=2", "rows?page=2", "{origin}/rows?page=2"])
def test_a_next_link_may_be_relative(server: Server, api: RestResource, link: str) -> None:
    """A next link is taken relative to its page, or as the full address it is."""
    server.answer_json("/rows", {"data": [{"a": 1}], "next": link.replace("{origin}", server.origin)})
    server.answer_json("/rows?page=2", {"data": [{"a": 2}], "next": None})
    assert rows_of(api.read(Endpoint("rows", records="data", pages=NextUrl(path="next")))) == [["1"], ["2"]]


def test_parameters_go_with_the_first_page_only(server: Server, api: RestResource) -> None:
    """The next link is followed as the server gave it."""
    server.answer_json("/rows?size=1", {"data": [{"a": 1}], "next": "/rows?cursor=x"})
    server.answer_json("/rows?cursor=x", {"data": [{"a": 2}]})
    api.read(Endpoint("rows", parameters={"size": 1}, records="data", pages=NextUrl(path="next")))
    assert server.asked == ["/rows?size=1", "/rows?cursor=x"]


@pytest.mark.parametrize("last", [{"next": None}, {"next": ""}], ids=["null", "empty"])
def test_an_empty_next_link_ends_the_reading(server: Server, api: RestResource, last: dict[str, Any]) -> None:
    """A next link that is null or empty is the end."""
    server.answer_json("/rows", {"data": [{"a": 1}], **last})
    api.read(Endpoint("rows", records="data", pages=NextUrl(path="next")))
    assert server.asked == ["/rows"]


def test_a_first_page_without_the_key_is_refused(server: Server, api: RestResource) -> None:
    """A first page that lacks the key of the next link is an error, as a misspelt path would load one page only."""
    server.answer_json("/rows", {"data": [{"a": 1}], "next_url": "/more"})
    with pytest.raises(SourceFormatError, match=r"no key 'next' for the path 'next'; present: \['data', 'next_url'\]"):
        api.read(Endpoint("rows", records="data", pages=NextUrl(path="next")))


def test_a_key_may_be_optional(server: Server, api: RestResource) -> None:
    """An API that leaves the key out on the last page is read when that is said."""
    server.answer_json("/rows", {"data": [{"a": 1}]})
    assert rows_of(api.read(Endpoint("rows", records="data", pages=NextUrl(path="next", optional=True)))) == [["1"]]


@pytest.mark.parametrize("path", ["/v1", "/v1/"])
def test_a_path_lies_below_the_base(server: Server, path: str) -> None:
    """A base URL counts as a folder, with and without its last slash."""
    server.answer_json("/v1/rows", [{"a": 1}])
    RestResource(base_url=f"{server.origin}{path}", retry=NO_RETRY).read("rows")
    assert server.asked == ["/v1/rows"]


@pytest.mark.parametrize(
    "links", [["/rows"], ["/rows?page=2", "/rows?page=2"], ["/rows?page=2", "/rows"]], ids=["itself", "later", "circle"]
)
def test_a_next_link_back_is_refused(server: Server, api: RestResource, links: Sequence[str]) -> None:
    """A link to a page that was read is an error, not a loop."""
    for path, link in zip(["/rows", "/rows?page=2"], links, strict=False):
        server.answer_json(path, {"data": [{"a": 1}], "next": link})
    with pytest.raises(SourceFormatError, match="leads back to a page already read"):
        api.read(Endpoint("rows", records="data", pages=NextUrl(path="next")))


def test_a_next_link_back_to_a_first_page_with_parameters_is_refused(server: Server, api: RestResource) -> None:
    """A page that links to itself is an error also when its query came from parameters."""
    server.answer_json("/rows?size=1", {"data": [{"a": 1}], "next": "/rows?size=1"})
    with pytest.raises(SourceFormatError, match="leads back"):
        api.read(Endpoint("rows", parameters={"size": 1}, records="data", pages=NextUrl(path="next")))


@pytest.mark.parametrize(("max_pages", "fine"), [(2, False), (3, True)])
def test_pages_are_bounded(server: Server, api: RestResource, max_pages: int, fine: bool) -> None:
    """Three pages are fine when three are allowed, an error when two are."""
    for number in (1, 2, 3):
        server.answer_json(f"/rows/{number}", {"data": [{"a": number}], "next": f"/rows/{number + 1}" if number < 3 else None})
    expected = contextlib.nullcontext() if fine else pytest.raises(SourceFormatError, match="more than 2 pages")
    with expected:
        api.read(Endpoint("rows/1", records="data", pages=NextUrl(path="next"), max_pages=max_pages))


@pytest.mark.parametrize("total", [1, 3])
def test_another_total_is_refused(server: Server, api: RestResource, total: int) -> None:
    """Fewer or more records than the server said are an error."""
    server.answer_json("/rows", {"data": [{"a": 1}, {"a": 2}], "count": total})
    with pytest.raises(SourceFormatError, match=f"said {total} records, 2 came"):
        api.read(Endpoint("rows", records="data", total="count"))


@pytest.mark.parametrize(
    "document", [{"data": []}, {"data": [], "count": "many"}, {"data": [], "count": None}], ids=["missing", "text", "null"]
)
def test_a_total_that_is_no_number_is_refused(server: Server, api: RestResource, document: dict[str, Any]) -> None:
    """A declared total that the server does not give is an error."""
    server.answer_json("/rows", document)
    with pytest.raises(SourceFormatError, match="'count' should lead to the number of records"):
        api.read(Endpoint("rows", records="data", total="count"))


# -- other origins -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["{other}/rows", "//{other_host}/rows", "https://{host}/rows"], ids=["address", "no scheme", "https"])
def test_a_next_link_to_another_origin_is_refused(server: Server, other: Server, api: RestResource, link: str) -> None:
    """A next link to another scheme, host or port is an error."""
    hosts = {"other": other.origin, "other_host": other.origin.removeprefix("http://"), "host": server.origin.removeprefix("http://")}
    server.answer_json("/rows", {"data": [], "next": link.format(**hosts)})
    with pytest.raises(SourceFormatError, match="leads to another origin"):
        api.read(Endpoint("rows", records="data", pages=NextUrl(path="next")))


def test_a_foreign_next_link_gets_no_request(server: Server, other: Server, api: RestResource) -> None:
    """Nothing is sent to the origin that a next link names."""
    server.answer_json("/rows", {"data": [], "next": f"{other.origin}/rows"})
    with contextlib.suppress(EtlError):
        api.read(Endpoint("rows", records="data", pages=NextUrl(path="next")))
    assert other.asked == []


def test_a_foreign_path_gets_no_request(other: Server, api: RestResource) -> None:
    """A path that is an address elsewhere is refused before anything is sent."""
    with pytest.raises(SourceFormatError, match="leads to another origin"):
        api.read(f"{other.origin}/rows")
    assert other.asked == []


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        ("http://no.such.host.invalid", "http://no.such.host.invalid:80/rows"),
        ("http://no.such.host.invalid:80", "http://NO.such.host.invalid/rows"),
        ("https://no.such.host.invalid", "https://no.such.host.invalid:443/rows"),
    ],
)
def test_the_default_port_is_the_same_origin(base_url: str, address: str) -> None:
    """An address that writes out the port of its scheme leads to the same origin, so it is asked for."""
    with pytest.raises(ConfigurationError, match="the host is not known"):
        RestResource(base_url=base_url, retry=NO_RETRY).read(address)


@pytest.mark.parametrize("address", ["http://127.0.0.1:443/rows", "https://127.0.0.1:80/rows"])
def test_the_port_of_another_scheme_is_another_origin(address: str) -> None:
    """A port that is the default of another scheme is another port."""
    with pytest.raises(SourceFormatError, match="leads to another origin"):
        RestResource(base_url="http://127.0.0.1", retry=NO_RETRY).read(address)


@pytest.mark.parametrize("link", ["http://[::1", "http://127.0.0.1:port/rows"])
def test_a_link_that_is_no_address_is_refused(server: Server, api: RestResource, link: str) -> None:
    """A next link that cannot be read as an address is a format error."""
    server.answer_json("/rows", {"data": [], "next": link})
    with pytest.raises(SourceFormatError, match="a link is no address"):
        api.read(Endpoint("rows", records="data", pages=NextUrl(path="next")))


@pytest.mark.parametrize("status", [302, 300])
@pytest.mark.parametrize("location", ["http://[::1", "http://user:sesame@elsewhere.invalid/rows?key=sesame"])
def test_a_redirect_is_shown_without_its_secrets(server: Server, api: RestResource, location: str, status: int) -> None:
    """Where a redirect leads is shown without user, password and query, and not at all when it is no address."""
    server.answer("/rows", Answer(status=status, headers={"Location": location}))
    with pytest.raises(SourceFormatError, match=r"to (what is no address|elsewhere.invalid/rows); ") as caught:
        api.read("rows")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("link", ["/rows?page=2", "{origin}/rows?page=2", "{other}/rows?page=2"])
def test_credentials_go_with_every_page(server: Server, link: str) -> None:
    """User and password of base_url are sent with each page, however its link is written, percent-encoding undone."""
    address = link.format(origin=server.origin, other=server.origin.replace("://", "://else:where@"))
    server.answer_json("/rows", {"data": [], "next": address})
    server.answer_json("/rows?page=2", {"data": []})
    base_url = server.origin.replace("://", "://user:p%40ss%E2%82%AC@")
    RestResource(base_url=base_url, retry=NO_RETRY).read(Endpoint("rows", records="data", pages=NextUrl(path="next")))
    assert server.authorisations == [f"Basic {base64.b64encode('user:p@ss€'.encode()).decode()}"] * 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused(server: Server, other: Server, api: RestResource, status: int) -> None:
    """A redirect is an error that says where it leads."""
    server.answer("/rows", Answer(status=status, headers={"Location": f"{other.origin}/rows"}))
    with pytest.raises(SourceFormatError, match=f"answered {status} .*, to 127.0.0.1:.*/rows"):
        api.read("rows")


def test_a_redirect_gets_no_request(server: Server, other: Server, api: RestResource) -> None:
    """Nothing is sent to the origin that a redirect names."""
    server.answer("/rows", Answer(status=302, headers={"Location": f"{other.origin}/rows"}))
    with contextlib.suppress(EtlError):
        api.read("rows")
    assert other.asked == []


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_transient_answer_is_tried_again(server: Server, status: int) -> None:
    """After an answer that asks to come back, the next attempt counts."""
    server.answer("/rows", Answer(status=status), Answer(body=b'[{"a": 1}]'))
    assert len(RestResource(base_url=server.origin, retry=Retry(attempts=2)).read("rows")) == 1


def test_a_truncated_body_is_tried_again(server: Server) -> None:
    """A body that ends early is not taken for the whole, the next attempt counts."""
    server.answer("/rows", Answer(body=b'[{"a": 1}]', promised=1000), Answer(body=b'[{"a": 1}, {"a": 2}]'))
    assert len(RestResource(base_url=server.origin, retry=Retry(attempts=2)).read("rows")) == 2


def test_attempts_count_all_calls(server: Server) -> None:
    """A server that always answers 503 is asked as often as `attempts` says."""
    server.answer("/rows", Answer(status=503))
    with pytest.raises(SourceUnavailableError, match="answered 503"):
        RestResource(base_url=server.origin, retry=Retry(attempts=2)).read("rows")
    assert server.asked == ["/rows", "/rows"]


def test_only_the_failed_page_is_tried_again(server: Server) -> None:
    """A page that failed is read again, the pages before it are not."""
    server.answer_json("/rows", {"data": [{"a": 1}], "next": "/rows?page=2"})
    server.answer("/rows?page=2", Answer(status=500), Answer(body=b'{"data": [{"a": 2}]}'))
    RestResource(base_url=server.origin, retry=Retry(attempts=2)).read(Endpoint("rows", records="data", pages=NextUrl(path="next")))
    assert server.asked == ["/rows", "/rows?page=2", "/rows?page=2"]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer(status=401), AuthenticationError, "answered 401 Unauthorized"),
        (Answer(status=403), AuthenticationError, "answered 403 Forbidden"),
        (Answer(status=404), SourceNotFoundError, "answered 404 Not Found"),
        (Answer(status=410), SourceNotFoundError, "answered 410 Gone"),
        (Answer(status=400, body=b"no such column"), SourceFormatError, "answered 400 Bad Request: 'no such column'"),
        (Answer(status=503), SourceUnavailableError, "answered 503 Service Unavailable"),
        (Answer(body=b"<html>sign in</html>"), SourceFormatError, "this is no JSON .* it starts with '<html>"),
        (Answer(body=b""), SourceFormatError, "this is no JSON"),
        (Answer(body=b'{"error": "no"}'), SourceFormatError, "a list of objects is needed, found a dict"),
        (Answer(body=b'[{"a": 1}]', promised=1000), SourceUnavailableError, "the API does not answer"),
        (Answer(body=b"[]", headers={"Content-Encoding": "gzip"}), SourceFormatError, "/rows: "),
    ],
    ids=["401", "403", "404", "410", "400", "503", "HTML", "empty", "an object", "truncated", "no gzip"],
)
def test_an_answer_is_classed_by_what_recovers_it(
    server: Server, api: RestResource, answer: Answer, error: type[EtlError], said: str
) -> None:
    """Each answer that is no page is the error whose recovery fits."""
    server.answer("/rows", answer)
    with pytest.raises(error, match=said):
        api.read("rows")


@pytest.mark.parametrize(
    "answer", [Answer(status=401), Answer(status=404), Answer(status=400), Answer(body=b"<html>")], ids=["401", "404", "400", "HTML"]
)
def test_a_permanent_fault_is_not_tried_again(server: Server, answer: Answer) -> None:
    """What a person must mend is asked for once."""
    server.answer("/rows", answer)
    with contextlib.suppress(PermanentError):
        RestResource(base_url=server.origin, retry=Retry(attempts=2)).read("rows")
    assert server.asked == ["/rows"]


def test_a_refused_connection_is_unavailable() -> None:
    """A port that nobody listens on is a source that does not answer."""
    with pytest.raises(SourceUnavailableError, match=r"does not answer \(.*Connection refused"):
        RestResource(base_url=f"http://127.0.0.1:{refused_port()}", retry=NO_RETRY).read("rows")


def test_silence_is_unavailable() -> None:
    """A server that accepts and then says nothing is given up after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        resource = RestResource(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}", retry=NO_RETRY, timeout_seconds=0.2)
        with pytest.raises(SourceUnavailableError, match="timed out"):
            resource.read("rows")


@pytest.mark.parametrize("base_url", ["", "host/path", "ftp://host/", "file:///etc/", "http://", "http://host:port/"])
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    """What is no http or https address is an error of configuration."""
    with pytest.raises(ConfigurationError):
        RestResource(base_url=base_url, retry=NO_RETRY).read("rows")


def test_a_failed_read_reports_nothing(server: Server, api: RestResource) -> None:
    """A read that ends in an error leaves the account as it was."""
    server.answer_json("/rows", {"data": [{"a": 1}], "count": 2})
    with open_account() as account, contextlib.suppress(EtlError):
        api.read(Endpoint("rows", records="data", total="count"))
    assert account.reads == []


# -- messages ----------------------------------------------------------------------------------------------------------

FAULTS = {
    "401": Answer(status=401),
    "404": Answer(status=404),
    "503": Answer(status=503),
    "302": Answer(status=302, headers={"Location": "/login"}),
    "HTML": Answer(body=b"<html>"),
    "no list": Answer(body=b"{}"),
    "truncated": Answer(body=b"[]", promised=99),
    "foreign link": Answer(body=b'{"data": [], "next": "http://elsewhere.invalid/"}'),
    "link back": Answer(body=b'{"data": [], "next": "/rows"}'),
    "total": Answer(body=b'{"data": [], "count": 7, "next": null}'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_message_holds_place_cause_and_next_step(server: Server, api: RestResource, fault: str) -> None:
    """Every message names the API, says what happened and what to do."""
    server.answer("/rows", FAULTS[fault])
    with pytest.raises(EtlError) as caught:
        api.read(Endpoint("rows", records="data", pages=NextUrl(path="next"), total="count" if fault == "total" else None))
    error = caught.value
    assert (server.origin in error.where, str(error)) == (True, f"{error.where}: {error.cause} Next: {error.next_step}")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_message_never_holds_the_password(server: Server, fault: str) -> None:
    """A password in base_url appears in no message."""
    server.answer("/rows", FAULTS[fault])
    resource = RestResource(base_url=server.origin.replace("://", "://user:sesame@"), retry=NO_RETRY)
    with pytest.raises(EtlError) as caught:
        resource.read(Endpoint("rows", records="data", pages=NextUrl(path="next"), total="count" if fault == "total" else None))
    assert "sesame" not in str(caught.value)


def test_the_account_never_holds_the_password(server: Server) -> None:
    """A password in base_url does not reach the account."""
    server.answer_json("/rows", [])
    with open_account() as account:
        RestResource(base_url=server.origin.replace("://", "://user:sesame@"), retry=NO_RETRY).read("rows")
    assert "sesame" not in account.reads[0].source


def test_a_wrong_base_url_is_shown_without_its_password() -> None:
    """A base URL of another scheme is refused without showing its password."""
    with pytest.raises(ConfigurationError) as caught:
        RestResource(base_url="ftp://user:sesame@host/", retry=NO_RETRY).read("rows")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("document", ["{}", '{"data": [], "next": "/rows?key=sesame"}'], ids=["no records", "link back"])
def test_a_message_never_holds_the_query(server: Server, api: RestResource, document: str) -> None:
    """A key in the query of a next link appears in no message."""
    server.answer_json("/rows", {"data": [], "next": "/rows?key=sesame"})
    server.answer("/rows?key=sesame", Answer(body=document.encode()))
    with pytest.raises(EtlError) as caught:
        api.read(Endpoint("rows", records="data", pages=NextUrl(path="next")))
    assert "sesame" not in str(caught.value)
