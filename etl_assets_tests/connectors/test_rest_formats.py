"""What a body may be: JSON, JSON lines, CSV, each packed or not; nested objects as columns; what a POST sends."""

import datetime
import gzip
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.accounting import SOURCE_POSITION, Account, open_account
from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.connectors.csv_text import CsvFormat
from etl_assets.connectors.paging import BodyCursor, NextUrl, Offset, PageNumber
from etl_assets.connectors.rest import Endpoint, Post, RestResource
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.retry_settings import NO_RETRY
from etl_assets_tests.fault_proxy import Asked, FaultServer, Reply, answer

Serve = Callable[..., FaultServer]
CSV = CsvFormat()


def resource(server: FaultServer) -> RestResource:
    """The server as a resource that does not retry."""
    return RestResource(base_url=server.origin, retry=NO_RETRY, timeout_seconds=5)


def read(serve: Serve, body: str | bytes, **endpoint: Any) -> pd.DataFrame:
    """What an endpoint with this body gives, without an account."""
    sent = body.encode() if isinstance(body, str) else body
    return resource(serve(lambda asked: Reply(body=sent))).read(Endpoint("rows", **endpoint))


def read_accounted(serve: Serve, body: str | bytes, **endpoint: Any) -> tuple[pd.DataFrame, Account]:
    """The same inside an account."""
    with open_account() as account:
        return read(serve, body, **endpoint), account


def cells(frame: pd.DataFrame) -> list[list[str | None]]:
    """The data cells, with None for NULL."""
    data = frame.drop(columns=SOURCE_POSITION)
    return [[None if pd.isna(value) else value for value in row] for row in data.itertuples(index=False)]


# -- JSON lines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1}\n{"a": 2}',
        '{"a": 1}\r\n{"a": 2}\r\n',
        '\n\n{"a": 1}\n   \n{"a": 2}\n\n',
        '\ufeff{"a": 1}\n{"a": 2}\n',
    ],
    ids=["lines", "no last line end", "Windows", "blank lines", "byte order mark"],
)
def test_json_lines(serve: Serve, body: str) -> None:
    """An object per line is a row per line, however lines end."""
    assert cells(read(serve, body, format="jsonl")) == [["1"], ["2"]]


def test_json_lines_count_lines(serve: Serve) -> None:
    """A position names the line, blank ones counted."""
    frame = read(serve, '{"a": 1}\n\n{"a": 2}\n', format="jsonl")
    assert frame[SOURCE_POSITION].tolist() == ["rows page 1 line 1", "rows page 1 line 3"]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\u00a0", "\x7f"])
def test_a_line_ends_at_its_line_end_only(serve: Serve, character: str) -> None:
    """A text of JSON may hold what other standards call the end of a line; the record stays whole."""
    escaped = json.dumps(character) if ord(character) < 32 else f'"{character}"'
    body = f'{{"a": {escaped}, "b": 1}}\n{{"a": "x", "b": 2}}\n'
    assert cells(read(serve, body, format="jsonl")) == [[character, "1"], ["x", "2"]]


@pytest.mark.parametrize("line", ["{", "[1]", "5", "null", '{"a": 1} {"a": 2}', "{'a': 1}", '{"a": 1, "a": 2}', '{"a": "\\ud800"}', "a,b"])
def test_a_line_that_is_no_object_goes_to_the_account(serve: Serve, line: str) -> None:
    """A line that holds no object is kept as it stands, and counts as read; the others come."""
    frame, account = read_accounted(serve, f'{{"a": 1}}\n{line}\n{{"a": 2}}\n', format="jsonl")
    assert [(row.position, row.raw, row.rule) for row in account.unreadable] == [("rows page 1 line 2", line, "json")]
    assert (cells(frame), account.rows_read) == ([["1"], ["2"]], 3)


def test_a_line_that_is_no_object_is_an_error_without_an_account(serve: Serve) -> None:
    """Where nobody keeps such lines, they are an error, so that none is lost."""
    with pytest.raises(SourceFormatError, match=r"rows page 1 line 2: this is no JSON .*open_account"):
        read(serve, '{"a": 1}\n{\n', format="jsonl")


@pytest.mark.parametrize(
    "number", ["1.50", "1e400", "-0", "12345678901234567890123", "0.1000"], ids=["decimal", "huge", "minus zero", "long", "zeros"]
)
@pytest.mark.parametrize("place", ["{}", '{{"x": {}}}', "[{}]"], ids=["value", "object", "list"])
@pytest.mark.parametrize("format_", ["json", "jsonl"])
def test_numbers_keep_their_digits(serve: Serve, number: str, place: str, format_: Any) -> None:
    """A number has the digits that it was written with, wherever it stands."""
    written = place.format(number)
    line = f'{{"a": {written}}}'
    assert cells(read(serve, f"[{line}]" if format_ == "json" else line, format=format_)) == [[written]]


# -- CSV ---------------------------------------------------------------------------------------------------------------


def test_csv(serve: Serve) -> None:
    """Fields are texts as they stand, empty ones are NULL, and a position names the line where a record starts."""
    frame = read(serve, 'a,b\n007, x \n"1,5","two\nlines"\n,\n', format=CSV)
    assert cells(frame) == [["007", " x "], ["1,5", "two\nlines"], [None, None]]
    assert frame[SOURCE_POSITION].tolist() == ["rows page 1 line 2", "rows page 1 line 3", "rows page 1 line 5"]


@pytest.mark.parametrize(
    ("format_", "body", "expected"),
    [
        (CsvFormat(delimiter=";"), "a;b\n1,5;x\n", [["1,5", "x"]]),
        (CsvFormat(delimiter="\t"), "a\tb\n1\t2\n", [["1", "2"]]),
        (CsvFormat(quote="'"), "a,b\n'1,2',\"x\"\n", [["1,2", '"x"']]),
        (CsvFormat(quote=None), 'a,b\n"1,2"\n', [['"1', '2"']]),
        (CsvFormat(null_markers=("NA", "-")), "a,b\nNA,\n-,n\n", [[None, ""], [None, "n"]]),
        (CSV, "\ufeffa,b\r\n1,2\r\n", [["1", "2"]]),
        (CSV, "a,b\n", []),
    ],
    ids=["semicolon", "tab", "quote", "no quotes", "null markers", "Windows", "header only"],
)
def test_csv_of_other_formats(serve: Serve, format_: CsvFormat, body: str, expected: list[list[str | None]]) -> None:
    """Delimiter, quote and NULL are what the format says."""
    assert cells(read(serve, body, format=format_)) == expected


@pytest.mark.parametrize("line", ["1", "1,2,3", '"1"x,2', "1,2\0"], ids=["too few", "too many", "stray quote", "NUL byte"])
def test_a_ragged_line_goes_to_the_account(serve: Serve, line: str) -> None:
    """A line with another number of fields, or that is no CSV, is kept as it stands, and counts as read; nothing shifts."""
    frame, account = read_accounted(serve, f"a,b\n1,2\n{line}\n3,4\n", format=CSV)
    assert [(row.position, row.raw) for row in account.unreadable] == [("rows page 1 line 3", line)]
    assert (cells(frame), account.rows_read) == ([["1", "2"], ["3", "4"]], 3)


def test_a_ragged_line_is_an_error_without_an_account(serve: Serve) -> None:
    """Where nobody keeps it, a ragged line is an error that shows it."""
    with pytest.raises(SourceFormatError, match="rows page 1 line 3: 1 fields, the header has 2: '3'"):
        read(serve, "a,b\n1,2\n3\n", format=CSV)


def test_a_quote_that_is_never_closed_loses_nothing(serve: Serve) -> None:
    """What a stray quote swallows is in the account, line by line."""
    frame, account = read_accounted(serve, 'a,b\n1,2\n"3,4\n5,6\n', format=CSV)
    assert (len(frame), account.rows_read, [row.raw for row in account.unreadable]) == (1, 3, ['"3,4', "5,6"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "no header line"),
        ("a,a\n1,2\n", r"repeats \['a'\]"),
        ("a,\n1,2\n", "a column without a name"),
        (f"a,{SOURCE_POSITION}\n1,2\n", "a name that is reserved"),
    ],
    ids=["nothing", "repeated", "unnamed", "reserved"],
)
def test_a_header_that_cannot_be_used_is_an_error(serve: Serve, body: str, said: str) -> None:
    """Without a usable header there are no columns to put fields into."""
    with pytest.raises(SourceFormatError, match=said):
        read(serve, body, format=CSV)


def test_columns_of_csv_pages_are_found_by_name(serve: Serve) -> None:
    """Pages whose columns stand in another order, or that have others, stand side by side by name."""
    pages = {"1": "a,b\n1,2\n", "2": "b,a\n4,3\n", "3": "a,c\n5,6\n", "4": "a,b\n"}
    server = serve(lambda asked: Reply(body=pages[asked.query["page"]].encode()))
    frame = resource(server).read(Endpoint("rows", format=CSV, pages=PageNumber()))
    assert cells(frame[["a", "b", "c", SOURCE_POSITION]]) == [["1", "2", None], ["3", "4", None], ["5", None, "6"]]


@pytest.mark.parametrize("pages", [PageNumber(size=2), Offset(limit=2)], ids=["page number", "offset"])
@pytest.mark.parametrize("format_", ["jsonl", CSV], ids=["JSON lines", "CSV"])
def test_lines_that_cannot_be_read_count_for_the_size_of_a_page(serve: Serve, pages: Any, format_: Any) -> None:
    """A page is as long as the API sent it, unreadable lines included, so none is left out or asked for twice."""
    lines = ["1", "1,1" if format_ is CSV else "{", "3", "4", "5,5" if format_ is CSV else "{"]

    def script(asked: Asked) -> Reply:
        start = int(asked.query["offset"]) if "offset" in asked.query else (int(asked.query["page"]) - 1) * 2
        some = lines[start : start + 2]
        if format_ is CSV:
            return Reply(body="".join(f"{line}\n" for line in ["a", *some]).encode())
        return Reply(body="".join(f'{{"a": {line}}}\n' if line != "{" else "{\n" for line in some).encode())

    with open_account() as account:
        frame = resource(serve(script)).read(Endpoint("rows", format=format_, pages=pages))
    assert (cells(frame), len(account.unreadable), account.rows_read) == ([["1"], ["3"], ["4"]], 2, 5)


@pytest.mark.parametrize("pages", [PageNumber(size=2), PageNumber(), Offset(limit=2)], ids=["sized", "page number", "offset"])
def test_a_page_of_which_nothing_can_be_read_is_not_the_end(serve: Serve, pages: Any) -> None:
    """A page that holds unreadable lines only is followed by the next one."""
    lines = ['{"a": 1}', '{"a": 2}', "{", "{", '{"a": 5}']

    def script(asked: Asked) -> Reply:
        start = int(asked.query["offset"]) if "offset" in asked.query else (int(asked.query["page"]) - 1) * 2
        return Reply(body="\n".join(lines[start : start + 2]).encode())

    with open_account() as account:
        frame = resource(serve(script)).read(Endpoint("rows", format="jsonl", pages=pages))
    assert (cells(frame), account.rows_read) == ([["1"], ["2"], ["5"]], 5)


@pytest.mark.parametrize("format_", ["jsonl", CSV], ids=["JSON lines", "CSV"])
@pytest.mark.parametrize(
    "body", [b"a\n\xff\n", "a\né\n".encode("latin-1"), "a\n1\n".encode("utf-16")], ids=["no UTF-8", "Latin-1", "UTF-16"]
)
def test_a_text_that_is_no_utf_8_is_an_error(serve: Serve, format_: Any, body: bytes) -> None:
    """Text in another encoding is an error, not a guess."""
    with pytest.raises(SourceFormatError, match="the body is not UTF-8"):
        read(serve, body, format=format_)


@pytest.mark.parametrize("pages", [NextUrl(path="next"), BodyCursor(path="next")], ids=["address", "cursor"])
@pytest.mark.parametrize("format_", ["jsonl", CSV], ids=["JSON lines", "CSV"])
def test_a_text_has_no_next_page_in_its_body(serve: Serve, format_: Any, pages: Any) -> None:
    """A paginator that looks into a document finds none in a text, which is an error and not the end of the pages."""
    with pytest.raises(SourceFormatError, match="the first page has no key 'next'"):
        read(serve, b'{"a": 1}\n' if format_ == "jsonl" else b"a\n1\n", format=format_, pages=pages)


@pytest.mark.parametrize("format_", ["jsonl", CSV], ids=["JSON lines", "CSV"])
def test_a_text_has_no_total(serve: Serve, format_: Any) -> None:
    """A total that is looked for in a text is an error, as it would never be compared."""
    with pytest.raises(SourceFormatError, match="'total' should lead to the number of records"):
        read(serve, b'{"a": 1}\n' if format_ == "jsonl" else b"a\n1\n", format=format_, total="total")


@pytest.mark.parametrize("format_", ["csv", "CSV", "xml", None, CsvFormat])
def test_a_format_that_nobody_knows_is_refused(format_: Any) -> None:
    """Another format is refused where it is written."""
    with pytest.raises(ConfigurationError, match="format is 'json', 'jsonl' or a CsvFormat; given: "):
        Endpoint("rows", format=format_)


# -- packed bodies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_", "body"), [("json", b'[{"a": 1}]'), ("jsonl", b'{"a": 1}\n'), (CSV, b"a\n1\n")], ids=["JSON", "JSON lines", "CSV"]
)
def test_a_gzip_file_is_unpacked(serve: Serve, format_: Any, body: bytes) -> None:
    """A body that is a gzip file is what it holds, whatever the server calls it."""
    assert cells(read(serve, gzip.compress(body), format=format_)) == [["1"]]


# -- nested objects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "separator", "expected"),
    [
        ({"a": {"b": 1, "c": {"d": 2}}, "e": 3}, "_", {"a_b": "1", "a_c_d": "2", "e": "3"}),
        ({"a": {"b": 1}}, ".", {"a.b": "1"}),
        ({"a": {"b": 1}}, "", {"ab": "1"}),
        ({"a": {}, "b": None}, "_", {"a": "{}", "b": None}),
        ({"a": [{"b": 1}, 2]}, "_", {"a": '[{"b": 1}, 2]'}),
        ({"a": {"b": [1.50]}}, "_", {"a_b": "[1.5]"}),
        ({"a": {"b": None}}, "_", {"a_b": None}),
        ({"a_b": 1, "a": {"c": 2}}, "_", {"a_b": "1", "a_c": "2"}),
    ],
)
def test_nested_objects_become_columns(serve: Serve, record: Mapping[str, Any], separator: str, expected: Mapping[str, str | None]) -> None:
    """Objects become columns named by their path; lists and empty objects stay values."""
    frame = read(serve, json.dumps([record]), flatten=separator)
    assert dict(zip(frame.columns.drop(SOURCE_POSITION), cells(frame)[0], strict=True)) == expected


def test_nested_objects_stay_json_unless_they_are_flattened(serve: Serve) -> None:
    """Without a separator an object is one cell of JSON."""
    assert cells(read(serve, '[{"a": {"b": 1.50}}]')) == [['{"b": 1.50}']]


@pytest.mark.parametrize(
    ("record", "name"),
    [({"a_b": 1, "a": {"b": 2}}, "a_b"), ({"a": {"b": 2}, "a_b": 1}, "a_b"), ({"a": {"b": {"c": 1}, "b_c": 2}}, "a_b_c"),
     ({"a": {"": 1}, "a_": 2}, "a_")],
)  # fmt: skip
def test_two_paths_of_one_name_are_an_error(serve: Serve, record: Mapping[str, Any], name: str) -> None:
    """Where two values would share a column one of them would be lost, so that is an error that names record and column."""
    with pytest.raises(SourceFormatError, match=rf"rows page 1 record 1: two nested values are both named '{name}'"):
        read(serve, json.dumps([record]), flatten="_")


def test_a_flattened_name_may_be_reserved(serve: Serve) -> None:
    """A path that spells the name of the position column is refused as that name is."""
    with pytest.raises(SourceFormatError, match=SOURCE_POSITION):
        read(serve, '[{"source": {"position": 1}}]', flatten="_")


def test_lines_are_flattened_too(serve: Serve) -> None:
    """Objects of JSON lines become columns as well."""
    assert list(read(serve, '{"a": {"b": 1}}\n', format="jsonl", flatten="_").columns) == ["a_b", SOURCE_POSITION]


# -- POST --------------------------------------------------------------------------------------------------------------

ROWS = [{"id": number} for number in range(1, 8)]
IDS = [str(row["id"]) for row in ROWS]


def found(asked: Asked, start: int) -> Reply:
    """Three hits from a place on, and the place of the next ones."""
    return answer({"hits": ROWS[start : start + 3], "next": start + 3 if start + 3 < len(ROWS) else None})


@pytest.mark.parametrize("body", [{"query": "jets", "ü": [1, None, 1.5]}, [1, 2], "text", 5, None, {}])
def test_a_post_sends_its_body_as_json(serve: Serve, body: Any) -> None:
    """The body goes out as JSON, and says so; none is no body."""
    server = serve(lambda asked: answer(ROWS))
    resource(server).read(Endpoint("rows", parameters={"a": 1}, post=Post(body=body)))
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/rows?a=1")
    assert (json.loads(asked.body) if asked.body else None) == body
    assert asked.headers.get("content-type") == (None if body is None else "application/json")


@pytest.mark.parametrize("in_body", [False, True], ids=["query", "body"])
@pytest.mark.parametrize("by", ["cursor", "offset", "page"])
def test_a_post_is_paged_by_query_or_body(serve: Serve, by: str, in_body: bool) -> None:
    """What the paginator adds goes into the query or into the body, beside what stands there."""
    pages = {"cursor": BodyCursor(path="next"), "offset": Offset(limit=3), "page": PageNumber(size=3)}[by]

    def script(asked: Asked) -> Reply:
        given = json.loads(asked.body) if in_body else asked.query
        page = int(given["page"]) - 1 if by == "page" else 0
        return found(asked, page * 3 if by == "page" else int(given.get(by, 0)))

    server = serve(script)
    post = Post(body={"query": "jets"}, parameters_in_body=in_body, safe=True)
    frame = resource(server).read(Endpoint("search", parameters={"a": 1}, records="hits", pages=pages, post=post))
    assert frame["id"].tolist() == IDS
    assert {json.loads(asked.body)["query"] for asked in server.asked} == {"jets"}
    assert {asked.query["a"] for asked in server.asked} == {"1"}
    if in_body:
        assert {asked.target for asked in server.asked} == {"/search?a=1"}


def test_the_paginator_replaces_what_the_body_starts_with(serve: Serve) -> None:
    """A body that names the parameter of the paginator gives way to it, as each page would be the first one else."""
    server = serve(lambda asked: found(asked, int(json.loads(asked.body)["cursor"] or 0)))
    post = Post(body={"cursor": None}, parameters_in_body=True)
    assert resource(server).read(Endpoint("search", records="hits", pages=BodyCursor(path="next"), post=post))["id"].tolist() == IDS


def test_numbers_of_a_paginator_stay_numbers_in_a_body(serve: Serve) -> None:
    """Offset and limit are numbers of JSON in a body."""
    server = serve(lambda asked: answer([]))
    resource(server).read(Endpoint("search", pages=Offset(limit=3), post=Post(parameters_in_body=True)))
    assert json.loads(server.asked[0].body) == {"offset": 0, "limit": 3}


def test_a_link_of_a_post_is_posted(serve: Serve) -> None:
    """The page that a POST links to is asked for by POST, with the same body."""
    server = serve(lambda asked: answer({"data": ROWS[:3], "next": "/more" if asked.path == "/rows" else None}))
    resource(server).read(Endpoint("rows", records="data", pages=NextUrl(path="next"), post=Post(body={"a": 1})))
    assert [(asked.method, asked.target, asked.body) for asked in server.asked] == [
        ("POST", "/rows", b'{"a": 1}'),
        ("POST", "/more", b'{"a": 1}'),
    ]


def test_a_post_that_repeats_itself_is_noticed(serve: Serve) -> None:
    """A cursor that comes back in the body of a POST is an error, as in a query."""
    server = serve(lambda asked: answer({"hits": [{"id": len(server.asked)}], "next": "same"}))
    with pytest.raises(SourceFormatError, match="leads back"):
        resource(server).read(
            Endpoint("search", records="hits", pages=BodyCursor(path="next"), post=Post(body={}, parameters_in_body=True))
        )


@pytest.mark.parametrize(
    "body", [{"at": datetime.date(2026, 3, 1)}, {"price": Decimal("1.5")}, {"a": {1, 2}}, float("nan"), {"a": float("inf")}, b"bytes"]
)
def test_a_body_that_is_no_json_is_refused(body: Any) -> None:
    """What JSON cannot hold is refused where it is written."""
    with pytest.raises(ConfigurationError, match="Post: the body is no JSON"):
        Post(body=body)


@pytest.mark.parametrize("body", [[1], "text", 5])
def test_parameters_need_a_body_that_is_an_object(body: Any) -> None:
    """Only an object has room for the parameters of a paginator."""
    with pytest.raises(ConfigurationError, match="parameters_in_body needs a body that is an object"):
        Post(body=body, parameters_in_body=True)


# -- in Dagster --------------------------------------------------------------------------------------------------------


class Planes(pa.DataFrameModel):
    """Planes, one row per tail number."""

    tailnum: str
    year: int = pa.Field(ge=1900)
    source_position: str

    class Config:
        metadata = {"primary_key": ["tailnum"]}


@pytest.mark.parametrize("format_", ["jsonl", CSV], ids=["JSON lines", "CSV"])
def test_lines_that_cannot_be_read_are_in_the_quarantine(postgres: PostgresResource, serve: Serve, format_: Any) -> None:
    """An asset loads the good rows of two pages, and keeps in the quarantine what could not be read and what breaks the contract."""
    csv = {"1": "tailnum,year\nN1,2004\nN2\n", "2": "tailnum,year\nN3,1800\n"}
    lines = {"1": '{"tailnum": "N1", "year": 2004}\n{"tailnum": \n', "2": '{"tailnum": "N3", "year": 1800}\n'}
    bodies = csv if format_ is CSV else lines
    server = serve(lambda asked: Reply(body=bodies[asked.query["page"]].encode()))

    @etl_asset(schema="raw", rows=RowPolicy(most_quarantined=0.9))
    def planes(api: RestResource) -> DataFrame[Planes]:
        """Planes of the API."""
        return api.read(Endpoint("planes", format=format_, pages=PageNumber(size=2)))

    dg.materialize([planes], resources={"api": resource(server), "io_manager": PostgresIOManager(postgres=postgres)})
    loaded = postgres.read_query("SELECT tailnum, year, source_position FROM raw.planes").astype(object).to_numpy().tolist()
    kept = postgres.read_query("SELECT source_position FROM etl.quarantine ORDER BY 1")["source_position"].tolist()
    line = 2 if format_ is CSV else 1
    assert loaded == [["N1", 2004, f"planes page 1 line {line}"]]
    assert kept == [f"planes page 1 line {line + 1}", f"planes page 2 line {line}"]


@pytest.mark.parametrize(("said", "fits"), [("2", True), ("3", False)])
def test_a_total_in_a_header_is_compared(said: str, fits: bool) -> None:
    """The number of records that a header announces is compared with what came."""
    with FaultServer(lambda asked: Reply(body=b'[{"id": 1}, {"id": 2}]', headers={"X-Total-Count": said})) as server:
        api = RestResource(base_url=server.origin, retry=NO_RETRY)
        if fits:
            assert len(api.read(Endpoint("rows", total_header="x-total-count"))) == 2
        else:
            with pytest.raises(SourceFormatError, match="the server said 3 records, 2 came"):
                api.read(Endpoint("rows", total_header="X-Total-Count"))
