"""Watermarks of an API: which lower bound is sent, which value is kept, and what two runs of a Dagster asset load.

Not here: watermarks of tables (`test_incremental.py`), how they commit (`test_incremental_loads.py`).
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any, Literal

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.accounting import Account, open_account
from etl_assets.assets import etl_asset
from etl_assets.connectors.csv_text import CsvFormat
from etl_assets.connectors.paging import NextUrl, PageNumber
from etl_assets.connectors.rest import Endpoint, IncrementalParameter, Post, RestResource
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.retry_settings import NO_RETRY
from etl_assets.watermarks import Value
from etl_assets_tests.fault_proxy import Asked, FaultServer, Reply, answer

Serve = Callable[..., FaultServer]
Kind = Literal["time", "number", "text"]
NAME = "rows by at"


def since(**more: Any) -> IncrementalParameter:
    """The parameter `since`, which carries the highest `at`."""
    return IncrementalParameter(**{"parameter": "since", "field": "at", **more})


def resource(server: FaultServer) -> RestResource:
    """The server as a resource that does not retry."""
    return RestResource(base_url=server.origin, retry=NO_RETRY, timeout_seconds=5)


def read(
    server: FaultServer, incremental: IncrementalParameter, committed: Mapping[str, Value] | None = None, endpoint: Endpoint | str = "rows"
) -> Account:
    """The account of one reading, after these watermarks."""
    with open_account(lambda: committed or {}) as account:
        resource(server).read(endpoint, incremental=incremental)
    return account


def saying(*values: Any) -> Callable[[Asked], Reply]:
    """One page with a record for each value of `at`."""
    return lambda asked: answer([{"at": value} for value in values])


# -- what is sent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "query"),
    [(None, {}), ("2026-01-01", {"since": "2026-01-01"}), (0, {"since": "0"}), (17, {"since": "17"}), ("", {"since": ""})],
)
def test_the_first_load_starts_where_it_is_told(serve: Serve, start: str | int | None, query: Mapping[str, str]) -> None:
    """Before the first load the start is sent, and nothing where there is none."""
    server = serve(saying())
    read(server, since(start=start))
    assert server.asked[0].query == query


@pytest.mark.parametrize("start", [None, "2020-01-01"])
@pytest.mark.parametrize(
    ("kind", "committed"),
    [
        ("time", "2026-03-01T09:30:00+01:00"),
        ("time", "2026-03-01T08:30:00Z"),
        ("time", "2026-03-01T08:30:00.120Z"),
        ("time", "2026-03-01 08:30:00"),
        ("time", "2026-03-01"),
        ("time", "20260301T083000Z"),
        ("number", "17"),
        ("number", "1.50"),
        ("number", "1e3"),
        ("number", "123456789012345678901234567890"),
        ("text", "007"),
        ("text", "a&b=c é"),
    ],
)
def test_the_watermark_is_sent_as_the_api_wrote_it(serve: Serve, kind: Kind, committed: str, start: str | None) -> None:
    """The committed value goes back to the API letter by letter, whatever the start was."""
    server = serve(saying())
    read(server, since(kind=kind, start=start), {NAME: committed})
    assert server.asked[0].query == {"since": committed}


@pytest.mark.parametrize(
    ("kind", "committed", "lag", "sent"),
    [
        # An hour before half past nine.
        ("time", "2026-03-01T09:30:00+01:00", datetime.timedelta(hours=1), "2026-03-01T08:30:00+01:00"),
        ("time", "2026-03-01T09:30:00Z", datetime.timedelta(hours=1), "2026-03-01T08:30:00Z"),
        ("time", "2026-03-01T09:30:00.250Z", datetime.timedelta(seconds=1), "2026-03-01T09:29:59.250000Z"),
        ("time", "2026-03-01T09:30:00+00:00", datetime.timedelta(hours=1), "2026-03-01T08:30:00+00:00"),
        ("time", "2026-03-01 09:30:00", datetime.timedelta(hours=1), "2026-03-01 08:30:00"),
        ("time", "2026-03-01T09:30:00", datetime.timedelta(0), "2026-03-01T09:30:00"),
        # An hour before midnight is the day before.
        ("time", "2026-03-01", datetime.timedelta(hours=1), "2026-02-28"),
        ("time", "2026-03-01", datetime.timedelta(days=2), "2026-02-27"),
        ("number", "17", 5, "12"),
        ("number", "17", 20, "-3"),
        ("number", "1.50", 1, "0.50"),
        ("number", "1e3", 1, "999"),
        ("number", "123456789012345678901234567", 1, "123456789012345678901234566"),
    ],
)
def test_a_lag_asks_again(serve: Serve, kind: Kind, committed: str, lag: Any, sent: str) -> None:
    """The lower bound is the watermark less the lag, written in the same style."""
    server = serve(saying())
    read(server, since(kind=kind, lag=lag), {NAME: committed})
    assert server.asked[0].query == {"since": sent}


def test_a_lag_beyond_all_times_asks_for_everything(serve: Serve) -> None:
    """A lag that leads before the first day of the calendar leaves the parameter out."""
    server = serve(saying())
    read(server, since(lag=datetime.timedelta(days=10**6)), {NAME: "2026-03-01"})
    assert server.asked[0].query == {}


@pytest.mark.parametrize(
    ("kind", "committed", "lag"), [("time", "2026-03-01", 5), ("number", "17", datetime.timedelta(days=1)), ("text", "a", 5)]
)
def test_a_lag_of_another_kind_is_refused(serve: Serve, kind: Kind, committed: str, lag: Any) -> None:
    """A lag that cannot be taken off the watermark is an error of configuration, and nothing is asked."""
    server = serve(saying())
    with pytest.raises(ConfigurationError, match=r"rows by at: a lag of .* cannot be taken off"):
        read(server, since(kind=kind, lag=lag), {NAME: committed})
    assert server.connections == 0


def test_a_lag_does_not_lower_the_start(serve: Serve) -> None:
    """Before the first load nothing was read, so the start is sent as it is."""
    server = serve(saying())
    read(server, since(start="2026-01-01", lag=datetime.timedelta(days=7)))
    assert server.asked[0].query == {"since": "2026-01-01"}


@pytest.mark.parametrize("given", [{"kind": "date"}, {"nulls": "include"}, {"lag": -1}, {"lag": datetime.timedelta(seconds=-1)}])
def test_a_setting_that_cannot_be_meant_is_refused(given: Mapping[str, Any]) -> None:
    """An unknown kind, an unknown treatment of NULL and a negative lag are refused where they are written."""
    with pytest.raises(ConfigurationError, match=r"IncrementalParameter\('since'\)"):
        since(**given)


def test_the_parameter_goes_with_every_page_that_is_asked_for_by_number(serve: Serve) -> None:
    """Pages by number all carry the lower bound, beside other parameters."""
    server = serve(lambda asked: answer([{"at": f"2026-03-0{asked.query['page']}"}] if int(asked.query["page"]) < 3 else []))
    read(server, since(), {NAME: "2026-02-01"}, Endpoint("rows", parameters={"a": 1}, pages=PageNumber()))
    assert [asked.query for asked in server.asked] == [{"a": "1", "since": "2026-02-01", "page": page} for page in ("1", "2", "3")]


def test_the_parameter_goes_with_the_first_page_of_a_chain(serve: Serve) -> None:
    """Links are followed as the API gave them."""
    server = serve(lambda asked: answer({"data": [{"at": "2026-03-01"}], "next": "/more" if asked.path == "/rows" else None}))
    read(server, since(), {NAME: "2026-02-01"}, Endpoint("rows", records="data", pages=NextUrl(path="next")))
    assert server.targets == ["/rows?since=2026-02-01", "/more"]


def test_a_post_carries_the_parameter_in_its_query(serve: Serve) -> None:
    """A POST has the lower bound in its query; its body is as it was written."""
    server = serve(saying())
    read(server, since(), {NAME: "2026-02-01"}, Endpoint("rows", post=Post(body={"a": 1})))
    assert (server.targets, server.asked[0].body) == (["/rows?since=2026-02-01"], b'{"a": 1}')


# -- what is kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "highest"),
    [
        ("time", ["2026-03-01", "2026-03-03", "2026-03-02"], "2026-03-03"),
        # 10:00+02:00 is 8:00 in UTC.
        ("time", ["2026-03-01T09:00:00Z", "2026-03-01T10:00:00+02:00"], "2026-03-01T09:00:00Z"),
        ("time", ["2026-03-01T09:00:00Z", "2026-03-01T10:00:00+00:30"], "2026-03-01T10:00:00+00:30"),
        ("time", ["2026-03-01T09:00:00.5Z", "2026-03-01T09:00:00.25Z"], "2026-03-01T09:00:00.5Z"),
        ("time", ["2026-03-01T09:00:00Z", "2026-03-01T09:00:00Z"], "2026-03-01T09:00:00Z"),
        ("number", [9, 10], "10"),
        ("number", [9.5, 9.25, -10], "9.5"),
        ("number", ["9", "10"], "10"),
        ("number", [12345678901234567890, 12345678901234567891], "12345678901234567891"),
        ("number", ["0.10000000000000000001", "0.1"], "0.10000000000000000001"),
        ("text", ["9", "10"], "9"),
        ("text", ["a", "B", "ä"], "ä"),
    ],
)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
def test_the_highest_value_is_kept_as_it_was_written(serve: Serve, kind: Kind, values: list[Any], highest: str, turned: bool) -> None:
    """The watermark is the highest value by its kind, as the API wrote it, in whatever order the records come."""
    account = read(serve(saying(*(reversed(values) if turned else values))), since(kind=kind))
    assert account.reached == {NAME: highest}


def test_digits_are_kept(serve: Serve) -> None:
    """A number of JSON keeps its digits on the way into the watermark."""
    account = read(serve(lambda asked: Reply(body=b'[{"at": 1.50}, {"at": 1.5e0}, {"at": 1.4}]')), since(kind="number"))
    assert account.reached == {NAME: "1.50"}


def test_all_pages_count(serve: Serve) -> None:
    """The highest value may stand on any page."""
    days = {"1": 2, "2": 9, "3": 5}
    server = serve(lambda asked: answer([{"at": f"2026-03-0{days[asked.query['page']]}"}] if asked.query["page"] in days else []))
    assert read(server, since(), endpoint=Endpoint("rows", pages=PageNumber())).reached == {NAME: "2026-03-09"}


@pytest.mark.parametrize(
    "values", [[], ["2026-02-01"], ["2026-01-01"], ["2026-01-01", "2026-02-01"]], ids=["none", "equal", "older", "both"]
)
def test_nothing_new_keeps_the_watermark(serve: Serve, values: list[str]) -> None:
    """When nothing above it came, the committed watermark is reported again, so it never falls."""
    assert read(serve(saying(*values)), since(), {NAME: "2026-02-01"}).reached == {NAME: "2026-02-01"}


def test_nothing_at_all_makes_no_watermark(serve: Serve) -> None:
    """A first load without records leaves no watermark, so the next one starts where this one did."""
    assert read(serve(saying()), since(start="2026-01-01")).reached == {}


def test_only_new_rows_are_announced(serve: Serve) -> None:
    """The account knows that older rows were left out, so that they are not replaced."""
    assert read(serve(saying()), since()).only_new


@pytest.mark.parametrize("field", ["meta.at", 'meta."at"', "history[-1].at", "max_by(history, &at).at"])
def test_the_value_may_lie_deep(serve: Serve, field: str) -> None:
    """The field is a path into the record, also when its columns are flattened."""
    record = {"meta": {"at": "2026-03-01"}, "history": [{"at": "2026-01-01"}, {"at": "2026-03-01"}]}
    account = read(serve(lambda asked: answer([record])), since(field=field), endpoint=Endpoint("rows", flatten="_"))
    assert account.reached == {f"rows by {field}": "2026-03-01"}


@pytest.mark.parametrize("format_", ["jsonl", CsvFormat()], ids=["JSON lines", "CSV"])
def test_other_formats_have_watermarks_too(serve: Serve, format_: Any) -> None:
    """The value is found in lines as in documents."""
    body = b"id,at\n1,2026-03-01\n2,2026-03-02\n" if isinstance(format_, CsvFormat) else b'{"at": "2026-03-01"}\n{"at": "2026-03-02"}\n'
    assert read(serve(lambda asked: Reply(body=body)), since(), endpoint=Endpoint("rows", format=format_)).reached == {NAME: "2026-03-02"}


# -- values that are none ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [{"at": None}, {}, {"At": "2026-03-01"}], ids=["null", "missing", "misspelt"])
def test_a_record_without_a_value_is_an_error(serve: Serve, record: Mapping[str, Any]) -> None:
    """No watermark reaches a record without the value, so it is an error that names the record."""
    server = serve(lambda asked: answer([{"at": "2026-03-01"}, record]))
    with pytest.raises(SourceFormatError, match=r"rows page 1 record 2: the record has no 'at'.*nulls=\"skip\""):
        read(server, since())


def test_records_without_a_value_may_be_skipped(serve: Serve) -> None:
    """With nulls="skip" such records are read, and do not move the watermark."""
    account = read(serve(saying("2026-03-01", None)), since(nulls="skip"))
    assert (account.rows_read, account.reached) == (2, {NAME: "2026-03-01"})


def test_records_that_all_lack_the_value_keep_the_watermark(serve: Serve) -> None:
    """When no record has the value, the committed watermark stays."""
    assert read(serve(saying(None, None)), since(nulls="skip"), {NAME: "2026-02-01"}).reached == {NAME: "2026-02-01"}


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("time", "yesterday", "'yesterday' is no time in ISO 8601"),
        ("time", "", "'' is no time"),
        ("time", 1772352000, "'1772352000' is no time"),
        ("time", "2026-02-30", "is no time"),
        ("number", "ten", "'ten' is no number"),
        ("number", "NaN", "'NaN' is no number"),
        ("number", float("nan"), "'NaN' is no number"),
        ("number", float("inf"), "'Infinity' is no number"),
        ("number", "--5", "is no number"),
        ("number", "²", "is no number"),
        ("number", True, "leads to 'True', which has no order"),
        ("text", False, "leads to 'False', which has no order"),
        ("text", {"a": 1}, "which has no order"),
        ("time", ["2026-03-01"], "which has no order"),
    ],
)
def test_a_value_of_another_kind_is_an_error(serve: Serve, kind: Kind, value: Any, said: str) -> None:
    """A value that is not of the declared kind has no place in the order, so it is an error that names the record."""
    with pytest.raises(SourceFormatError, match=rf"rows page 1 record 1: .*{said}"):
        read(serve(saying(value)), since(kind=kind))


@pytest.mark.parametrize("turned", [False, True])
def test_times_with_and_without_a_zone_have_no_order(serve: Serve, turned: bool) -> None:
    """A time without a zone cannot be compared with one that has a zone, so both together are an error."""
    values = ["2026-03-01T09:00:00", "2026-03-01T09:00:00Z"]
    with pytest.raises(SourceFormatError, match="rows page 1 record 2: .* cannot be compared with .*: one has a time zone"):
        read(serve(saying(*(reversed(values) if turned else values))), since())


def test_a_zone_that_the_api_gave_up_is_an_error(serve: Serve) -> None:
    """A committed time with a zone and new ones without are an error too."""
    with pytest.raises(SourceFormatError, match="one has a time zone"):
        read(serve(saying("2026-03-01T09:00:00")), since(), {NAME: "2026-02-01T09:00:00Z"})


def test_a_committed_value_of_another_kind_is_an_error(serve: Serve) -> None:
    """When the kind was changed since the last load, the error names the watermark."""
    with pytest.raises(SourceFormatError, match="rows by at: 'abc' is no number"):
        read(serve(saying("1")), since(kind="number"), {NAME: "abc"})


# -- when it is reported -----------------------------------------------------------------------------------------------


def failing_later(asked: Asked) -> Reply:
    """A page, and 404 for the next one."""
    return answer([{"at": "2026-03-01"}] * 2) if asked.query["page"] == "1" else Reply(status=404)


def test_a_reading_that_fails_reports_no_watermark(serve: Serve) -> None:
    """What a later page fails for is read again: no watermark is reached."""
    with open_account() as account, pytest.raises(EtlError):
        resource(serve(failing_later)).read(Endpoint("rows", pages=PageNumber(size=2)), incremental=since())
    assert account.reached == {}


def test_batches_report_their_watermark_at_the_end(serve: Serve) -> None:
    """Who stops reading batches half-way has not reached the watermark."""
    server = serve(lambda asked: answer([{"at": f"2026-03-0{asked.query['page']}"}] if int(asked.query["page"]) < 3 else []))
    with open_account() as account:
        batches = resource(server).read_batches(Endpoint("rows", pages=PageNumber()), incremental=since())
        next(batches)
        half_way = dict(account.reached)
        for _ in batches:
            pass
    assert (half_way, account.reached) == ({}, {NAME: "2026-03-02"})


def test_two_reads_of_one_path_need_names(serve: Serve) -> None:
    """Two reads of one path in one asset would share a watermark, which is an error unless they are named."""
    api = resource(serve(saying("2026-03-01")))
    with open_account():
        api.read(Endpoint("rows", parameters={"kind": "a"}), incremental=since())
        with pytest.raises(ConfigurationError, match="rows by at: two reads of one asset share this watermark"):
            api.read(Endpoint("rows", parameters={"kind": "b"}), incremental=since())


def test_two_reads_of_one_path_with_names(serve: Serve) -> None:
    """Named, each of them has its own watermark, and goes on from it."""
    server = serve(lambda asked: answer([{"at": "2026-03-01" if asked.query["kind"] == "a" else "2026-03-02"}]))
    committed: dict[str, Value] = {"rows by a": "2026-01-01", "rows by b": "2026-01-02"}
    with open_account(lambda: committed) as account:
        for kind in ("a", "b"):
            resource(server).read(Endpoint("rows", parameters={"kind": kind}), incremental=since(name=kind))
    assert [asked.query["since"] for asked in server.asked] == ["2026-01-01", "2026-01-02"]
    assert account.reached == {"rows by a": "2026-03-01", "rows by b": "2026-03-02"}


def test_without_an_account_everything_is_read(serve: Serve) -> None:
    """Where nobody keeps watermarks the start is sent."""
    server = serve(saying("2026-03-01"))
    assert len(resource(server).read("rows", incremental=since(start="2026-01-01"))) == 1
    assert server.asked[0].query == {"since": "2026-01-01"}


# -- one watermark per parent ------------------------------------------------------------------------------------------

FLIGHTS = Endpoint("planes/{tailnum}/flights")
LATEST = {"N1": "2026-03-01", "N2": "2026-03-05"}


def flights(asked: Asked) -> Reply:
    """One flight of each plane, on its latest day."""
    return answer([{"at": LATEST[asked.path.split("/")[2]]}])


def parents(*values: str) -> pd.DataFrame:
    """A frame of planes."""
    return pd.DataFrame({"tailnum": list(values)})


def test_each_parent_has_its_own_watermark(serve: Serve) -> None:
    """What is new for one parent says nothing of another one."""
    with open_account() as account:
        resource(serve(flights)).read_children(FLIGHTS, parents("N1", "N2"), incremental=since())
    assert account.reached == {"planes/N1/flights by at": "2026-03-01", "planes/N2/flights by at": "2026-03-05"}


def test_each_parent_goes_on_from_its_own_watermark(serve: Serve) -> None:
    """Each parent is asked from where it was read, a new one from the start."""
    server = serve(flights)
    with open_account(lambda: {"planes/N1/flights by at": "2026-02-01"}):
        resource(server).read_children(FLIGHTS, parents("N1", "N2"), incremental=since(start="2026-01-01"))
    assert [asked.query["since"] for asked in server.asked] == ["2026-02-01", "2026-01-01"]


def test_watermarks_are_looked_up_once(serve: Serve) -> None:
    """The committed watermarks are read from the database once for all parents."""
    looked_up: list[int] = []

    def committed() -> Mapping[str, Value]:
        looked_up.append(1)
        return {}

    with open_account(committed):
        resource(serve(flights)).read_children(FLIGHTS, parents("N1", "N2"), incremental=since())
    assert len(looked_up) == 1


def test_a_parent_that_was_skipped_keeps_its_watermark(serve: Serve) -> None:
    """A parent that has no such endpoint any more keeps the watermark it had."""
    server = serve(lambda asked: Reply(status=404))
    with open_account(lambda: {"planes/N1/flights by at": "2026-02-01"}) as account:
        resource(server).read_children(FLIGHTS, parents("N1", "N2"), incremental=since(), missing="skip")
    assert account.reached == {"planes/N1/flights by at": "2026-02-01"}


def test_a_later_parent_that_fails_leaves_no_watermark(serve: Serve) -> None:
    """When one parent fails, the rows of the others are not returned, so no watermark is reached, not even for a caller that goes on."""
    server = serve(lambda asked: flights(asked) if "N1" in asked.path else Reply(status=400))
    with open_account() as account, pytest.raises(SourceFormatError):
        resource(server).read_children(FLIGHTS, parents("N1", "N2"), incremental=since())
    assert account.reached == {}


# -- in Dagster --------------------------------------------------------------------------------------------------------


class Orders(pa.DataFrameModel):
    """Orders, one row per id."""

    id: int
    status: str
    at: str

    class Config:
        metadata = {"primary_key": ["id"]}


class Shop:
    """An API of orders that selects by `since`, the bound included."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[str, str]] = {1: ("new", "2026-03-01T09:00:00Z"), 2: ("new", "2026-03-02T09:00:00Z")}
        self.broken = False

    def answer(self, asked: Asked) -> Reply:
        """The orders from the bound on, two a page."""
        found = [
            {"id": number, "status": status, "at": at}
            for number, (status, at) in sorted(self.orders.items(), key=lambda item: item[1][1])
            if at >= asked.query.get("since", "") and asked.path.split("/")[1] in ("orders", str(number))
        ]
        start = (int(asked.query["page"]) - 1) * 2
        if self.broken and start:
            return Reply(status=400)
        return answer({"data": found[start : start + 2], "total": len(found)})


@etl_asset(schema="raw", write="merge")
def orders(api: RestResource) -> DataFrame[Orders]:
    """Orders that changed since the last run."""
    endpoint = Endpoint("orders", records="data", total="total", pages=PageNumber(size=2))
    return api.read(endpoint, incremental=since(start="2026-01-01T00:00:00Z")).drop(columns="source_position")


def run(postgres: PostgresResource, server: FaultServer, asset: dg.AssetsDefinition = orders) -> bool:
    """Whether a run of the asset succeeds."""
    resources = {"api": resource(server), "io_manager": PostgresIOManager(postgres=postgres)}
    return dg.materialize([asset], resources=resources, raise_on_error=False).success


def loaded(postgres: PostgresResource) -> list[list[Any]]:
    """Id and status of the orders in the table."""
    return postgres.read_query("SELECT id, status FROM raw.orders ORDER BY id").astype(object).to_numpy().tolist()


def test_two_runs_load_what_changed(postgres: PostgresResource, serve: Serve) -> None:
    """The second run asks from the watermark on, replaces what changed and adds what is new; nothing is there twice."""
    shop = Shop()
    server = serve(shop.answer)
    assert run(postgres, server)
    shop.orders |= {1: ("paid", "2026-03-03T09:00:00Z"), 3: ("new", "2026-03-04T09:00:00+00:00")}
    assert run(postgres, server)
    assert loaded(postgres) == [[1, "paid"], [2, "new"], [3, "new"]]
    assert list(dict.fromkeys(asked.query["since"] for asked in server.asked)) == ["2026-01-01T00:00:00Z", "2026-03-02T09:00:00Z"]
    assert postgres.watermarks("raw/orders") == {NAME.replace("rows", "orders"): "2026-03-04T09:00:00+00:00"}


def test_a_run_that_fails_leaves_table_and_watermark(postgres: PostgresResource, serve: Serve) -> None:
    """A page that fails in the second run leaves both as they were, and the third run brings what the second one missed."""
    shop = Shop()
    server = serve(shop.answer)
    assert run(postgres, server)
    shop.orders |= {3: ("new", "2026-03-03T09:00:00Z"), 4: ("new", "2026-03-04T09:00:00Z")}
    shop.broken = True
    failed = run(postgres, server)
    after = (loaded(postgres), postgres.watermarks("raw/orders"))
    shop.broken = False
    assert (failed, *after) == (False, [[1, "new"], [2, "new"]], {"orders by at": "2026-03-02T09:00:00Z"})
    assert run(postgres, server)
    assert loaded(postgres) == [[1, "new"], [2, "new"], [3, "new"], [4, "new"]]


def test_children_of_two_runs(postgres: PostgresResource, serve: Serve) -> None:
    """With a watermark per parent, the second run brings a late row of one parent that lies below the watermark of the other."""

    @etl_asset(schema="raw", name="orders", write="merge")
    def by_parent(api: RestResource) -> DataFrame[Orders]:
        """Orders, read one by one."""
        endpoint = Endpoint("{id}", records="data", pages=PageNumber(size=2))
        frame = api.read_children(endpoint, pd.DataFrame({"id": ["1", "2"]}), incremental=since())
        return frame.drop(columns=["source_position", "parent_id"])

    shop = Shop()
    server = serve(shop.answer)
    assert run(postgres, server, by_parent)
    shop.orders[1] = ("paid", "2026-03-01T10:00:00Z")
    assert run(postgres, server, by_parent)
    assert (loaded(postgres), postgres.watermarks("raw/orders")) == (
        [[1, "paid"], [2, "new"]],
        {"1 by at": "2026-03-01T10:00:00Z", "2 by at": "2026-03-02T09:00:00Z"},
    )
