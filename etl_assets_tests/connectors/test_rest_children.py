"""Endpoints that exist once per parent: which requests are made, and which rows come of them."""

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pytest

from etl_assets.accounting import SOURCE_POSITION, Read, open_account
from etl_assets.connectors.csv_text import CsvFormat
from etl_assets.connectors.paging import BodyCursor, NextUrl, Offset, PageNumber
from etl_assets.connectors.rest import Endpoint, RestResource
from etl_assets.errors import AuthenticationError, ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError
from etl_assets.retry_settings import NO_RETRY, Retry
from etl_assets_tests.fault_proxy import Asked, FaultServer, Reply, answer, within

Serve = Callable[..., FaultServer]
FLIGHTS = Endpoint("planes/{tailnum}/flights")


def parents(*values: object, name: str = "tailnum") -> pd.DataFrame:
    """A frame of parents, with a column that is none of their names."""
    return pd.DataFrame({name: pd.Series(list(values), dtype=object), "other": range(len(values))})


def resource(server: FaultServer, **settings: Any) -> RestResource:
    """The server as a resource that does not retry unless it is told to."""
    return RestResource(base_url=f"{server.origin}/v1", **{"retry": NO_RETRY, "timeout_seconds": 5, **settings})


def children(server: FaultServer, endpoint: Endpoint, of: pd.DataFrame, **more: Any) -> pd.DataFrame:
    """The children of the parents."""
    return within(10, lambda: resource(server).read_children(endpoint, of, **more))


def two(asked: Asked) -> Reply:
    """Two flights of whichever plane, which say whose they are."""
    tail = unquote(asked.path.split("/")[3])
    return answer([{"of": tail, "id": number} for number in (1, 2)])


# -- requests ----------------------------------------------------------------------------------------------------------

ODD = [
    "a/b c?d",
    "N1",
    "ü",
    "100%",
    "%2F",
    "a#b",
    "a&b=c",
    "a;b",
    "+",
    "...",
    "..a",
    "{x}",
    " ",
    "a\nb",
    "../../admin",
    "//evil",
    "日本",
    "@",
    ":",
    "'\"",
]


@pytest.mark.parametrize("value", ODD)
def test_a_value_is_one_segment(serve: Serve, value: str) -> None:
    """Whatever a parent is called, it arrives as one segment of the path, and comes back as it was."""
    server = serve(two)
    frame = children(server, FLIGHTS, parents(value))
    assert server.targets == [f"/v1/planes/{quote(value, safe='')}/flights"]
    assert (frame["of"].tolist(), frame["parent_tailnum"].tolist()) == ([value] * 2, [value] * 2)


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT, "", ".", ".."])
def test_a_value_that_is_no_segment_is_refused(serve: Serve, value: object) -> None:
    """NULL, an empty text and the names of folders would lead elsewhere, so they are errors, and nothing is asked."""
    server = serve(two)
    with pytest.raises(SourceFormatError, match="the parent's tailnum is .*, which is no segment of a path"):
        children(server, FLIGHTS, parents(value))
    assert server.asked == []


@pytest.mark.parametrize("column", [[17], pd.array([17], dtype="Int64"), pd.array(["17"], dtype="str")], ids=["int64", "Int64", "text"])
def test_a_number_is_a_segment(serve: Serve, column: Any) -> None:
    """An integer of any dtype is asked for by its digits."""
    server = serve(two)
    children(server, FLIGHTS, pd.DataFrame({"tailnum": column}))
    assert server.targets == ["/v1/planes/17/flights"]


def test_a_float_is_refused(serve: Serve) -> None:
    """An integer that pandas made a float of would be asked for by another path, so it is an error that says what to do."""
    with pytest.raises(SourceFormatError, match=r"the parent's tailnum is 17\.0, a float\. Next: give the column as text or as Int64"):
        children(serve(two), FLIGHTS, pd.DataFrame({"tailnum": [17.0]}))


def test_equal_parents_are_asked_for_once(serve: Serve) -> None:
    """Parents that repeat make one request, in the order in which they first appear."""
    server = serve(two)
    frame = children(server, FLIGHTS, parents("N2", "N1", "N2", "N1", "N2"))
    assert (len(server.asked), frame["parent_tailnum"].tolist()) == (2, ["N2", "N2", "N1", "N1"])


def test_several_placeholders_are_filled(serve: Serve) -> None:
    """A path may hold several columns, also one of them twice, and in its query."""
    server = serve(lambda asked: answer([{"id": 1}]))
    of = pd.DataFrame({"b": ["x y", "x y"], "a": ["1", "2"]})
    frame = children(server, Endpoint("{a}/{b}/{a}?only={b}"), of)
    assert server.targets == ["/v1/1/x%20y/1?only=x%20y", "/v1/2/x%20y/2?only=x%20y"]
    assert frame[["parent_a", "parent_b"]].to_numpy().tolist() == [["1", "x y"], ["2", "x y"]]


def test_a_value_in_the_query_adds_no_parameter(serve: Serve) -> None:
    """A value in the query stays one value."""
    server = serve(lambda asked: answer([{"id": 1}]))
    children(server, Endpoint("flights?plane={tailnum}&year=2013"), parents("a&year=1900"))
    assert server.asked[0].query == {"plane": "a&year=1900", "year": "2013"}


def test_parameters_go_with_every_parent(serve: Serve) -> None:
    """Parameters of the endpoint are sent for each parent."""
    server = serve(two)
    children(server, Endpoint("planes/{tailnum}/flights", parameters={"year": 2013}), parents("N1", "N2"))
    assert server.targets == ["/v1/planes/N1/flights?year=2013", "/v1/planes/N2/flights?year=2013"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("planes", r"its placeholders are \[\]"),
        ("planes/{tail}/flights", r"its placeholders are \['tail'\]; columns of the parents: \['tailnum', 'other'\]"),
        ("planes/{}/flights", r"its placeholders are \[''\]"),
        ("planes/{tailnum.x}/flights", r"its placeholders are \['tailnum\.x'\]"),
        ("planes/{0}/flights", r"its placeholders are \['0'\]"),
        ("planes/{tailnum/flights", "the path cannot be read"),
        ("planes/tailnum}/flights", "the path cannot be read"),
    ],
)
def test_a_path_that_fits_no_column_is_refused(serve: Serve, path: str, said: str) -> None:
    """A placeholder that is no column of the parents is an error of configuration, and nothing is asked."""
    server = serve(two)
    with pytest.raises(ConfigurationError, match=said):
        children(server, Endpoint(path), parents("N1"))
    assert server.connections == 0


def test_a_path_with_placeholders_is_not_read_without_parents(serve: Serve) -> None:
    """`read` says which method reads such a path."""
    server = serve(two)
    with pytest.raises(ConfigurationError, match=r"has placeholders: \['tailnum'\]\. Next: read it with read_children"):
        resource(server).read(FLIGHTS)
    assert server.connections == 0


def test_braces_may_be_written(serve: Serve) -> None:
    """Doubled braces are braces, with parents and without."""
    server = serve(lambda asked: answer([{"id": 1}]))
    children(server, Endpoint("{{a}}/{tailnum}"), parents("N1"))
    resource(server).read("{{a}}/rows")
    assert [unquote(target) for target in server.targets] == ["/v1/{a}/N1", "/v1/{a}/rows"]


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rows_say_whose_they_are_and_where_they_stood(serve: Serve) -> None:
    """Each row has its parent as text, and a position that names parent, page and record."""
    frame = children(serve(two), FLIGHTS, parents("N1", "a/b"))
    assert frame.drop(columns="of").to_numpy().tolist() == [
        ["1", "planes/N1/flights page 1 record 1", "N1"],
        ["2", "planes/N1/flights page 1 record 2", "N1"],
        ["1", "planes/a%2Fb/flights page 1 record 1", "a/b"],
        ["2", "planes/a%2Fb/flights page 1 record 2", "a/b"],
    ]
    assert list(frame.columns) == ["of", "id", SOURCE_POSITION, "parent_tailnum"]
    assert {str(dtype) for dtype in frame.dtypes} == {"str"}


def test_children_of_different_shapes_stand_side_by_side(serve: Serve) -> None:
    """Columns that only some children have are NULL for the others; nothing moves."""
    server = serve(lambda asked: answer([{"a": 1}] if "N1" in asked.path else [{"b": 2}] if "N2" in asked.path else []))
    frame = children(server, FLIGHTS, parents("N1", "N2", "N3"))
    cells = frame[["a", "b", "parent_tailnum"]].astype(object)
    assert cells.where(cells.notna(), None).to_numpy().tolist() == [["1", None, "N1"], [None, "2", "N2"]]


def test_no_parents_make_no_requests(serve: Serve) -> None:
    """Without parents there is nothing to ask for, and no rows."""
    server = serve(two)
    with open_account() as account:
        frame = resource(server).read_children(FLIGHTS, parents())
    assert (len(frame), server.connections, account.rows_read) == (0, 0, 0)


@pytest.mark.parametrize("name", ["parent_tailnum", "PARENT"])
def test_a_record_that_has_the_column_of_the_parent_is_refused(serve: Serve, name: str) -> None:
    """A record's own column named like that of the parent would be overwritten, so it is an error; another one is not."""
    server = serve(lambda asked: answer([{name: "theirs"}]))
    if name == "PARENT":
        assert children(server, FLIGHTS, parents("N1"))[name].tolist() == ["theirs"]
    else:
        with pytest.raises(SourceFormatError, match=r"the records have columns \['parent_tailnum'\] already"):
            children(server, FLIGHTS, parents("N1"))


def test_one_read_with_all_rows_is_reported(serve: Serve) -> None:
    """All children together are one read of the account."""
    server = serve(two)
    with open_account() as account:
        resource(server).read_children(FLIGHTS, parents("N1", "N2", "N1"))
    assert account.reads == [Read(source=f"{server.origin}/v1/planes/{{tailnum}}/flights", rows=4)]


def test_the_source_is_reported_without_its_query(serve: Serve) -> None:
    """The query of a path, where keys may stand, is not in the account."""
    server = serve(lambda asked: answer([{"id": 1}]))
    with open_account() as account:
        resource(server).read_children(Endpoint("flights?key=sesame&plane={tailnum}"), parents("N1"))
    assert account.reads == [Read(source=f"{server.origin}/v1/flights", rows=1)]


def test_lines_that_cannot_be_read_are_kept_with_their_parent(serve: Serve) -> None:
    """Unreadable lines of a child go to the account, with a position that names the parent, and count as read."""
    server = serve(lambda asked: Reply(body=b"a,b\n1,2\n3\n"))
    with open_account() as account:
        frame = resource(server).read_children(Endpoint("planes/{tailnum}/flights", format=CsvFormat()), parents("N1", "N2"))
    assert [(row.position, row.raw) for row in account.unreadable] == [
        ("planes/N1/flights page 1 line 3", "3"),
        ("planes/N2/flights page 1 line 3", "3"),
    ]
    assert (len(frame), account.rows_read) == (2, 4)


# -- pages of each child -----------------------------------------------------------------------------------------------

ROWS = [{"id": number} for number in range(1, 6)]


def paged(asked: Asked) -> Reply:
    """Five flights of each plane, two a page, by every paginator."""
    query = asked.query
    start = (int(query["page"]) - 1) * 2 if "page" in query else int(query.get("offset", query.get("cursor", 0)))
    following = start + 2 if start + 2 < len(ROWS) else None
    link = None if following is None else f"?cursor={following}"
    return answer({"data": ROWS[start : start + 2], "next": following, "link": link, "total": 5})


@pytest.mark.parametrize(
    "pages", [PageNumber(size=2), Offset(limit=2), BodyCursor(path="next"), NextUrl(path="link")], ids=lambda p: type(p).__name__
)
def test_each_child_has_its_own_pages(serve: Serve, pages: Any) -> None:
    """The pages of one child begin anew with the next one, though both look alike, and each child's total is compared."""
    endpoint = Endpoint("planes/{tailnum}/flights", records="data", total="total", pages=pages)
    frame = children(serve(paged), endpoint, parents("N1", "N2"))
    expected = [["N1", str(row["id"])] for row in ROWS] + [["N2", str(row["id"])] for row in ROWS]
    assert frame[["parent_tailnum", "id"]].to_numpy().tolist() == expected


def test_the_total_of_each_child_is_compared(serve: Serve) -> None:
    """A child with fewer rows than it says is an error, also when another one has more."""
    server = serve(lambda asked: answer({"data": ROWS[:2], "total": 1 if "N1" in asked.path else 3}))
    with pytest.raises(SourceFormatError, match="N1/flights: the server said 1 records, 2 came"):
        children(server, Endpoint("planes/{tailnum}/flights", records="data", total="total"), parents("N1", "N2"))


def test_pages_are_bounded_for_each_child(serve: Serve) -> None:
    """`max_pages` counts the pages of one child."""
    endpoint = Endpoint("planes/{tailnum}/flights", records="data", pages=BodyCursor(path="next"), max_pages=3)
    assert len(children(serve(paged), endpoint, parents("N1", "N2", "N3"))) == 15


def test_all_children_together_are_bounded(serve: Serve) -> None:
    """`read_bytes` counts all children of one reading."""
    size = len(two(Asked(method="GET", target="/v1/planes/N1/flights", headers={}, body=b"")).body)
    with pytest.raises(SourceFormatError, match="in all"):
        within(10, lambda: resource(serve(two), read_bytes=size * 2).read_children(FLIGHTS, parents("N1", "N2", "N3")))


# -- parents without it ------------------------------------------------------------------------------------------------


def only_n2(asked: Asked) -> Reply:
    """Flights of N2; of others it says 404."""
    return two(asked) if "/N2/" in asked.path else Reply(status=404)


def test_a_parent_without_it_is_an_error(serve: Serve) -> None:
    """404 for one parent ends the reading, unless it is said to mean no records."""
    with pytest.raises(SourceNotFoundError, match="planes/N1/flights: the API answered 404"):
        children(serve(only_n2), FLIGHTS, parents("N1", "N2"))


@pytest.mark.parametrize("status", [404, 410])
def test_a_parent_without_it_may_be_skipped(serve: Serve, status: int) -> None:
    """With missing="skip" a parent without the endpoint has no records."""
    server = serve(lambda asked: two(asked) if "/N2/" in asked.path else Reply(status=status))
    assert children(server, FLIGHTS, parents("N1", "N2", "N3"), missing="skip")["parent_tailnum"].tolist() == ["N2", "N2"]


def test_parents_that_were_skipped_are_told(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """How many parents were skipped is in the account and in the log, each parent counted once."""
    server = serve(only_n2)
    with open_account() as account, caplog.at_level(logging.WARNING):
        resource(server).read_children(FLIGHTS, parents("N1", "N2", "N3", "N1"), missing="skip")
    assert [read.notes for read in account.reads] == ["2 parents without it"]
    assert caplog.messages == [f"{server.origin}/v1/planes/{{tailnum}}/flights: 2 of 3 parents have no such endpoint"]


def test_a_later_page_that_is_missing_is_an_error(serve: Serve) -> None:
    """404 on the second page is not a parent without it: its first page was there."""
    server = serve(lambda asked: answer([{"id": 1}] * 2) if asked.query["page"] == "1" else Reply(status=404))
    with pytest.raises(SourceNotFoundError):
        children(server, Endpoint("planes/{tailnum}/flights", pages=PageNumber(size=2)), parents("N1"), missing="skip")


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (400, SourceFormatError), (500, EtlError)])
def test_other_failures_are_not_skipped(serve: Serve, status: int, error: type[EtlError]) -> None:
    """missing="skip" is about parents without the endpoint only."""
    with pytest.raises(error):
        children(serve(lambda asked: Reply(status=status)), FLIGHTS, parents("N1"), missing="skip")


def test_only_the_child_that_failed_is_asked_again(serve: Serve) -> None:
    """A child that fails for now is tried again, those before it are not."""
    failed: list[str] = []

    def script(asked: Asked) -> Reply:
        if "N2" in asked.path and not failed:
            failed.append(asked.path)
            return Reply(status=503)
        return two(asked)

    server = serve(script)
    resource(server, retry=Retry(attempts=2, initial_seconds=0.01)).read_children(FLIGHTS, parents("N1", "N2", "N3"))
    assert [target.split("/")[3] for target in server.targets] == ["N1", "N2", "N2", "N3"]


def test_a_reading_that_fails_reports_no_rows(serve: Serve) -> None:
    """When a later child fails, the account has no read of the earlier ones."""
    server = serve(lambda asked: two(asked) if "N1" in asked.path else Reply(body=json.dumps({"no": "list"}).encode()))
    with open_account() as account, pytest.raises(SourceFormatError):
        resource(server).read_children(FLIGHTS, parents("N1", "N2"))
    assert account.reads == []
