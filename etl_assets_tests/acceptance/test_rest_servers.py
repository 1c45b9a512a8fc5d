"""REST against servers that other people wrote: every paginator, every kind of credential, and what else they do.

Datasette and httpbin come from PyPI, json-server, Prism and Azurite from npm. Not here: faults (`connectors/test_rest_faults.py`).
"""

import base64
import copy
import datetime
import email.utils
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
import requests

from etl_assets.accounting import SOURCE_POSITION, open_account
from etl_assets.connectors.credentials import (
    ApiKey,
    BasicAuth,
    BearerToken,
    Credentials,
    OAuth2ClientCredentials,
    OAuth2RefreshToken,
)
from etl_assets.connectors.csv_text import CsvFormat
from etl_assets.connectors.paging import BodyCursor, HeaderCursor, LinkHeader, NextUrl, Offset, PageNumber, Paginator
from etl_assets.connectors.rest import Endpoint, IncrementalParameter, Post, RestResource
from etl_assets.errors import (
    AuthenticationError,
    RateLimitedError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from etl_assets.retry_settings import NO_RETRY, Retry
from etl_assets_tests.acceptance import servers
from etl_assets_tests.datasette_server import serve_rows
from etl_assets_tests.httpbin_server import get

# Names are long enough for json-server to compress a page.
ROWS = [{"id": number, "name": f"plane {number} {'é' * 200}", "at": f"2026-03-{number:02}"} for number in range(1, 26)]
IDS = [str(row["id"]) for row in ROWS]


def resource(base_url: str, **settings: Any) -> RestResource:
    """A server as a resource that does not retry unless it is told to."""
    return RestResource(base_url=base_url, **{"retry": NO_RETRY, "timeout_seconds": 30, **settings})


def ids(base_url: str, endpoint: Endpoint | str, **settings: Any) -> list[str]:
    """The column `id` of an endpoint."""
    return resource(base_url, **settings).read(endpoint)["id"].tolist()


def one(base_url: str, endpoint: Endpoint, **settings: Any) -> dict[str, Any]:
    """The only row of an endpoint."""
    (row,) = resource(base_url, **settings).read(endpoint).to_dict("records")
    return {str(name): value for name, value in row.items()}


# -- json-server: pages by number, by offset, by Link header -----------------------------------------------------------


@pytest.fixture(scope="module")
def json_api(serve_json: Callable[[Mapping[str, Any]], str]) -> str:
    """Base URL of a json-server with planes, each with three flights."""
    flights = [{"id": number, "planeId": number % 3 + 1, "day": f"2026-03-{number:02}"} for number in range(1, 10)]
    return serve_json({"planes": ROWS, "flights": flights, "nothing": []})


JSON_SERVER: Mapping[str, tuple[Paginator, Mapping[str, str | int]]] = {
    "pages of 4": (PageNumber(parameter="_page", size=4, size_parameter="_limit"), {}),
    "pages of 5, the last one full": (PageNumber(parameter="_page", size=5, size_parameter="_limit"), {}),
    "one page": (PageNumber(parameter="_page", size=100, size_parameter="_limit"), {}),
    "pages of the server's size": (PageNumber(parameter="_page"), {}),
    "offset by 4": (Offset(parameter="_start", limit_parameter="_limit", limit=4), {}),
    "offset by 5, the last one full": (Offset(parameter="_start", limit_parameter="_limit", limit=5), {}),
    "offset by 100": (Offset(parameter="_start", limit_parameter="_limit", limit=100), {}),
    "Link header": (LinkHeader(), {"_page": 1, "_limit": 4}),
}


@pytest.mark.parametrize("case", JSON_SERVER)
def test_json_server_is_read_whole(json_api: str, case: str) -> None:
    """Every record comes once and in order, as many as the server says there are."""
    pages, parameters = JSON_SERVER[case]
    total = int(get(f"{json_api}/planes?_page=1").headers["X-Total-Count"])
    got = ids(json_api, Endpoint("planes", parameters=parameters, pages=pages))
    assert (got, len(got)) == (IDS, total)


@pytest.mark.parametrize("case", JSON_SERVER)
def test_json_server_without_records(json_api: str, case: str) -> None:
    """An empty resource has no rows, by every paginator."""
    pages, parameters = JSON_SERVER[case]
    assert len(resource(json_api).read(Endpoint("nothing", parameters=parameters, pages=pages))) == 0


def test_json_server_values_are_text_as_they_are(json_api: str) -> None:
    """Values come as the server wrote them, unpacked from the gzip that it sent."""
    assert "gzip" in get(f"{json_api}/planes").headers["Content-Encoding"]
    frame = resource(json_api).read("planes")
    assert frame["name"].tolist() == [row["name"] for row in ROWS]


def test_json_server_children(json_api: str) -> None:
    """Flights of each plane are read by the path below it."""
    frame = resource(json_api).read_children(Endpoint("planes/{id}/flights"), pd.DataFrame({"id": ["1", "2", "99"]}))
    assert frame[["parent_id", "id"]].to_numpy().tolist() == [[p, i] for p, numbers in (("1", "369"), ("2", "147")) for i in numbers]


def test_json_server_increments(json_api: str) -> None:
    """From the watermark on only newer records come, the last one again."""
    endpoint = Endpoint("planes", pages=PageNumber(parameter="_page", size=4, size_parameter="_limit"))
    with open_account(lambda: {"planes by at": "2026-03-20"}) as account:
        frame = resource(json_api).read(endpoint, incremental=IncrementalParameter(parameter="at_gte", field="at"))
    assert (frame["id"].tolist(), account.reached) == (IDS[19:], {"planes by at": "2026-03-25"})


def test_json_server_does_not_know(json_api: str) -> None:
    """A resource that does not exist is not found."""
    with pytest.raises(SourceNotFoundError):
        resource(json_api).read("plains")


# -- Datasette: addresses and cursors in the body ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def datasette(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a Datasette over the planes."""
    with serve_rows(ROWS, tmp_path_factory.mktemp("datasette")) as base_url:
        yield base_url


OBJECTS = {"_shape": "objects", "_size": 4}
DATASETTE: Mapping[str, Endpoint] = {
    "address in the body": Endpoint("planes.json", parameters=OBJECTS, records="rows", total="filtered_table_rows_count",
                                    pages=NextUrl(path="next_url")),
    "cursor in the body": Endpoint("planes.json", parameters=OBJECTS, records="rows", total="filtered_table_rows_count",
                                   pages=BodyCursor(path="next", parameter="_next")),
    "Link header": Endpoint("planes.json", parameters={"_shape": "array", "_size": 4}, pages=LinkHeader()),
    "JSON lines": Endpoint("planes.json", parameters={"_shape": "array", "_nl": "on", "_size": 100}, format="jsonl"),
    "JSON lines by Link header": Endpoint("planes.json", parameters={"_shape": "array", "_nl": "on", "_size": 4}, format="jsonl",
                                          pages=LinkHeader()),
    "CSV": Endpoint("planes.csv", parameters={"_size": 100}, format=CsvFormat()),
    "CSV in a stream": Endpoint("planes.csv", parameters={"_stream": "on"}, format=CsvFormat()),
}  # fmt: skip


@pytest.mark.parametrize("case", DATASETTE)
def test_datasette_is_read_whole(datasette: str, case: str) -> None:
    """Every record comes once and in order, in each format and by each paginator, with the same cells."""
    frame = resource(datasette).read(DATASETTE[case])
    assert frame.drop(columns=SOURCE_POSITION).to_dict("records") == [{name: str(value) for name, value in row.items()} for row in ROWS]


@pytest.mark.parametrize("total", ["filtered_table_rows_count", "private", "suggested_facets"])
def test_datasette_total(datasette: str, total: str) -> None:
    """The number of rows that Datasette gives is compared, and what is no number is an error."""
    endpoint = Endpoint("planes.json", parameters=OBJECTS, records="rows", total=total)
    with pytest.raises(SourceFormatError, match="said 25 records, 4 came" if total.startswith("filtered") else "should lead to the number"):
        resource(datasette).read(endpoint)


def test_datasette_refuses_a_wrong_size(datasette: str) -> None:
    """What Datasette says of a wrong parameter is in the error."""
    with pytest.raises(SourceFormatError, match="answered 400 .*_size must be a positive integer"):
        resource(datasette).read(Endpoint("planes.json", parameters={"_size": -1}, records="rows"))


# -- Azurite: cursors in two headers, and a signature that it verifies -------------------------------------------------

NEXT = {"x-ms-continuation-NextPartitionKey": "NextPartitionKey", "x-ms-continuation-NextRowKey": "NextRowKey"}
ACCEPT = {"Accept": "application/json;odata=nometadata"}


@pytest.fixture(scope="module")
def table(azurite: servers.AzuriteTables) -> servers.AzuriteTables:
    """A table service with the table `planes`, in three partitions."""
    rows = [{"PartitionKey": f"p{number // 10}", "RowKey": f"{number:03}", "id": number} for number in range(1, 26)]
    azurite.create_table("planes", rows)
    return azurite


@pytest.mark.parametrize("size", [1, 4, 5, 25, 1000])
def test_azurite_is_read_whole(table: servers.AzuriteTables, size: int) -> None:
    """A cursor of two headers leads through all pages, over the border of a partition."""
    endpoint = Endpoint("planes()", parameters={**table.signature(), "$top": size}, records="value", pages=HeaderCursor(headers=NEXT))
    assert ids(table.url, endpoint, headers=ACCEPT) == IDS


class SharedKey(RestResource):
    """Azure's table service by the key of the account ("Shared Key Lite"), which signs each request."""

    account: str
    key: str

    def sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign the date and the path."""
        date = email.utils.format_datetime(datetime.datetime.now(datetime.UTC), usegmt=True)
        text = f"{date}\n/{self.account}{urlsplit(str(request.url)).path}"
        digest = hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()
        request.headers["x-ms-date"] = date
        request.headers["x-ms-version"] = "2019-02-02"
        request.headers["Authorization"] = f"SharedKeyLite {self.account}:{base64.b64encode(digest).decode()}"
        return request


PLANES = Endpoint("planes()", parameters={"$top": 10}, records="value", pages=HeaderCursor(headers=NEXT))


def test_azurite_accepts_our_signature(table: servers.AzuriteTables) -> None:
    """Requests signed by `sign` are accepted by a server that verifies them, page by page."""
    api = SharedKey(base_url=table.url, headers=ACCEPT, retry=NO_RETRY, account=table.account, key=table.key)
    assert api.read(PLANES)["id"].tolist() == IDS


def test_azurite_refuses_a_signature_by_another_key(table: servers.AzuriteTables) -> None:
    """The server does verify them."""
    api = SharedKey(base_url=table.url, headers=ACCEPT, retry=NO_RETRY, account=table.account, key=base64.b64encode(b"no").decode())
    with pytest.raises(AuthenticationError):
        api.read(PLANES)


# -- credentials: Prism refuses what an OpenAPI document asks for, httpbin repeats what it was sent --------------------


def kinds(prism: str) -> Mapping[str, Credentials]:
    """The credential for each path `/by-...` of Prism."""
    client: dict[str, Any] = {"token_url": f"{prism}/token", "client_id": "me", "client_secret": "sesame"}
    return {
        "header": ApiKey(value="sesame"),
        "query": ApiKey(name="api_key", value="sesame", place="query"),
        "cookie": ApiKey(name="session", value="sesame", place="cookie"),
        "bearer": BearerToken(token="sesame"),
        "basic": BasicAuth(username="me", password="sesame"),
        "oauth2": OAuth2ClientCredentials(**client),
        "oauth2 in the body": OAuth2ClientCredentials(**client, client_auth="client_secret_post", scope="read"),
    }


KINDS = list(kinds(""))


@pytest.mark.parametrize("kind", KINDS)
def test_prism_accepts_each_kind(prism: str, kind: str) -> None:
    """A path that asks for a kind of credential gives its rows for it."""
    assert ids(prism, f"by-{kind.partition(' ')[0]}", auth=kinds(prism)[kind]) == ["1", "2"]


@pytest.mark.parametrize("kind", KINDS)
def test_prism_refuses_none(prism: str, kind: str) -> None:
    """Without the credential the same path is refused."""
    with pytest.raises(AuthenticationError, match="answered 401"):
        ids(prism, f"by-{kind.partition(' ')[0]}")


def test_prism_accepts_a_refresh_token() -> None:
    """A token endpoint whose document allows the grant of a refresh token only gives a token for it."""
    document = copy.deepcopy(servers.OPENAPI)
    form = document["paths"]["/token"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    form["properties"] = {"grant_type": {"enum": ["refresh_token"]}, "refresh_token": {"type": "string"}}
    form["required"] = ["grant_type", "refresh_token"]
    with servers.prism(document) as url:
        auth = OAuth2RefreshToken(token_url=f"{url}/token", client_id="me", refresh_token="again")
        assert ids(url, "by-oauth2", auth=auth) == ["1", "2"]


def test_prism_refuses_a_grant_that_it_does_not_know(prism: str) -> None:
    """A grant that the document does not allow is an error of authentication, not tried again."""
    auth = OAuth2RefreshToken(token_url=f"{prism}/token", client_id="me", refresh_token="again")
    with pytest.raises(AuthenticationError, match="/token: the token endpoint"):
        ids(prism, "by-oauth2", auth=auth, retry=Retry(attempts=3))


def test_prism_asks_to_wait(prism: str) -> None:
    """429 with Retry-After from an OpenAPI document is a rate limit that says how long."""
    with pytest.raises(RateLimitedError, match="asks to wait 1 s") as caught:
        resource(prism, headers={"Prefer": "code=429"}).read("limited")
    assert caught.value.retry_after_seconds == 1


REPEATED = Endpoint("anything", records="[@]", flatten=".")


@pytest.mark.parametrize(
    ("auth", "column", "value"),
    [
        (BasicAuth(username="me", password="se:same"), "headers.Authorization", f"Basic {base64.b64encode(b'me:se:same').decode()}"),
        (BearerToken(token="sesame"), "headers.Authorization", "Bearer sesame"),
        (ApiKey(value="sesame"), "headers.X-Api-Key", "sesame"),
        (ApiKey(name="key", value="se same&", place="query"), "args.key", "se same&"),
        (ApiKey(name="session", value="sesame", place="cookie"), "headers.Cookie", "session=sesame"),
    ],
    ids=["basic", "bearer", "header", "query", "cookie"],
)
def test_httpbin_gets_each_kind(httpbin: str, auth: Credentials, column: str, value: str) -> None:
    """What another program reads in our request is the credential as it was given."""
    assert one(httpbin, REPEATED, auth=auth)[column] == value


@pytest.mark.parametrize("path", ["basic-auth/me/sesame", "hidden-basic-auth/me/sesame"])
def test_httpbin_verifies_a_password(httpbin: str, path: str) -> None:
    """User and password are accepted by a server that compares them."""
    assert one(httpbin, Endpoint(path, records="[@]"), auth=BasicAuth(username="me", password="sesame"))["authenticated"] == "true"


@pytest.mark.parametrize(
    ("path", "error"), [("basic-auth/me/sesame", AuthenticationError), ("hidden-basic-auth/me/sesame", SourceNotFoundError)]
)
def test_httpbin_refuses_a_wrong_password(httpbin: str, path: str, error: type[Exception]) -> None:
    """A wrong one is refused, or hidden as 404."""
    with pytest.raises(error):
        one(httpbin, Endpoint(path, records="[@]"), auth=BasicAuth(username="me", password="wrong"))


def test_httpbin_verifies_a_password_of_base_url(httpbin: str) -> None:
    """User and password of base_url are the same credential."""
    base_url = httpbin.replace("://", "://me:p%40ss@")
    assert one(base_url, Endpoint("basic-auth/me/p@ss", records="[@]"))["user"] == "me"


# -- what else httpbin does --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["redirect/5", "relative-redirect/5", "absolute-redirect/5", "redirect-to?url=%2Fget", "redirect-to?url=get"]
)
def test_httpbin_redirects_inside_are_followed(httpbin: str, path: str) -> None:
    """Up to five redirects inside the origin are followed, relative and absolute ones."""
    assert one(httpbin, Endpoint(path, records="[@]"), auth=BearerToken(token="sesame"))["url"].endswith("/get")


def test_httpbin_redirects_are_bounded(httpbin: str) -> None:
    """Six in a row are too many."""
    with pytest.raises(SourceFormatError, match="redirects lead in a circle"):
        one(httpbin, Endpoint("redirect/6", records="[@]"))


def test_httpbin_redirects_elsewhere_are_refused(httpbin: str, json_api: str) -> None:
    """A redirect to another port is an error, unless that origin is allowed."""
    elsewhere = Endpoint("redirect-to", parameters={"url": f"{json_api}/planes"})
    with pytest.raises(SourceFormatError, match="another origin"):
        ids(httpbin, elsewhere)
    assert ids(httpbin, elsewhere, link_origins=[json_api], private_links=True) == IDS


@pytest.mark.parametrize(("status", "fine"), [(301, False), (302, False), (303, False), (307, True), (308, True)])
def test_httpbin_redirects_of_a_post(httpbin: str, status: int, fine: bool) -> None:
    """A POST is redirected with its body, or not at all."""
    endpoint = Endpoint("redirect-to", parameters={"url": "/post", "status_code": status}, records="[json]", post=Post(body={"a": "1"}))
    if fine:
        assert one(httpbin, endpoint)["a"] == "1"
    else:
        with pytest.raises(SourceFormatError, match="answered a POST with"):
            one(httpbin, endpoint)


def test_httpbin_cookies_are_kept(httpbin: str) -> None:
    """A cookie that is set with a redirect is sent to where it leads."""
    assert one(httpbin, Endpoint("cookies/set?session=theirs", records="[cookies]"))["session"] == "theirs"


def test_httpbin_gets_a_post(httpbin: str) -> None:
    """The body of a POST arrives as JSON."""
    body = {"query": "jets é", "limit": 3, "deep": [1, {"a": None}]}
    row = one(httpbin, Endpoint("post", records="[json]", post=Post(body=body)))
    assert {name: row[name] for name in body} == {"query": "jets é", "limit": "3", "deep": '[1, {"a": null}]'}


def test_httpbin_gets_parameters_as_they_are(httpbin: str) -> None:
    """Parameters with any characters arrive as they were given."""
    given = {"a": "é & = + % # ?", "b c": "/", "d": 1}
    row = one(httpbin, Endpoint("get", parameters=given, records="[args]"))
    assert {name: row[name] for name in given} == {name: str(value) for name, value in given.items()}


def test_httpbin_compresses(httpbin: str) -> None:
    """A body in gzip is unpacked."""
    assert one(httpbin, Endpoint("gzip", records="[@]"))["gzipped"] == "true"


@pytest.mark.parametrize("path", ["deflate", "brotli"])
def test_httpbin_compresses_unasked(httpbin: str, path: str) -> None:
    """A compression that was not asked for is an error that names it."""
    with pytest.raises(SourceFormatError, match=r"the body comes as '(deflate|br)', which was not asked for"):
        one(httpbin, Endpoint(path, records="[@]"))


def test_httpbin_streams_lines(httpbin: str) -> None:
    """Objects in chunks, a line each, are rows."""
    assert ids(httpbin, Endpoint("stream/20", format="jsonl")) == [str(number) for number in range(20)]


@pytest.mark.parametrize("path", ["html", "xml", "image/png", "encoding/utf8", "bytes/100", "base64/bm8="])
def test_httpbin_is_no_json(httpbin: str, path: str) -> None:
    """What is no JSON is a format error."""
    with pytest.raises(SourceFormatError, match="this is no JSON"):
        resource(httpbin).read(path)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, SourceFormatError), (401, AuthenticationError), (403, AuthenticationError), (404, SourceNotFoundError),
     (410, SourceNotFoundError), (418, SourceFormatError), (429, RateLimitedError), (500, SourceUnavailableError),
     (503, SourceUnavailableError)],
)  # fmt: skip
def test_httpbin_statuses(httpbin: str, status: int, error: type[Exception]) -> None:
    """Each status is the error whose recovery fits."""
    with pytest.raises(error, match=f"answered {status}"):
        resource(httpbin).read(f"status/{status}")


def test_httpbin_is_late(httpbin: str) -> None:
    """An answer that comes after the timeout is not waited for."""
    with pytest.raises(SourceUnavailableError, match="timed out"):
        resource(httpbin, timeout_seconds=0.5).read("delay/5")


def test_httpbin_drips(httpbin: str) -> None:
    """A body that drips beyond `page_seconds` is given up, though no silence is longer than the timeout."""
    with pytest.raises(SourceFormatError, match="the page took longer than 1 s"):
        resource(httpbin, page_seconds=1, timeout_seconds=5).read("drip?numbytes=20&duration=10&delay=0")


def test_httpbin_is_large(httpbin: str) -> None:
    """A body larger than allowed is given up."""
    with pytest.raises(SourceFormatError, match="larger than 10000 bytes"):
        resource(httpbin, page_bytes=10_000).read("bytes/50000")
