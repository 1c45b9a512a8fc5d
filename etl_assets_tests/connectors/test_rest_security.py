"""Where requests may go and what they carry, and that secrets appear nowhere. Tests watch the other server: it received no byte."""

import base64
import json
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import dagster as dg
import pandera.pandas as pa
import pytest
import requests
from pandera.typing import DataFrame

from etl_assets.accounting import Account, open_account
from etl_assets.assets import etl_asset
from etl_assets.connectors.credentials import (
    ApiKey,
    BasicAuth,
    BearerToken,
    Credentials,
    NoAuth,
    OAuth2ClientCredentials,
    OAuth2RefreshToken,
)
from etl_assets.connectors.csv_text import CsvFormat
from etl_assets.connectors.hosts import is_local, is_public
from etl_assets.connectors.paging import LinkHeader, NextUrl
from etl_assets.connectors.rest import Endpoint, Post, RestResource
from etl_assets.connectors.retrying import NO_RETRY, Retry
from etl_assets.errors import AuthenticationError, ConfigurationError, EtlError, SourceFormatError, SourceUnavailableError
from etl_assets.loading.io_manager import failure
from etl_assets.metadata import describe
from etl_assets_tests.fault_proxy import Asked, FaultServer, Reply, Script, answer, in_turn, self_signed, within

Serve = Callable[..., FaultServer]
SECONDS = 10
# Names of this domain never resolve, so nothing is sent where a test would go wrong.
REMOTE = "http://api.invalid"
LINKED = Endpoint("rows", records="data", pages=NextUrl(path="next"))
TOKEN = {"access_token": "a-token", "token_type": "Bearer", "expires_in": 3600}


def page(link: str | None = None, number: int = 1) -> Reply:
    """A page of one row that leads to a link."""
    return answer({"data": [{"id": number}], "next": link})


def resource(server: FaultServer | str, **settings: Any) -> RestResource:
    """The server as a resource that does not retry unless it is told to."""
    base_url = server if isinstance(server, str) else server.origin
    return RestResource(base_url=base_url, **{"retry": NO_RETRY, "timeout_seconds": 5, **settings})


def ids(server: FaultServer | str, endpoint: Endpoint | str = LINKED, **settings: Any) -> list[str]:
    """The column `id` of an endpoint."""
    return within(SECONDS, lambda: resource(server, **settings).read(endpoint))["id"].tolist()


def credentials(token_url: str = "http://127.0.0.1/token") -> Mapping[str, Credentials]:
    """One of each kind."""
    return {
        "basic": BasicAuth(username="me", password="sesame"),
        "bearer": BearerToken(token="sesame"),
        "key in a header": ApiKey(value="sesame"),
        "key in the query": ApiKey(name="key", value="sesame", place="query"),
        "key in a cookie": ApiKey(name="session", value="sesame", place="cookie"),
        "client credentials": OAuth2ClientCredentials(token_url=token_url, client_id="me", client_secret="sesame"),
        "refresh token": OAuth2RefreshToken(token_url=token_url, client_id="me", client_secret="sesame", refresh_token="sesame"),
    }


KINDS = list(credentials())


@pytest.fixture
def other(serve: Serve) -> FaultServer:
    """A second server, which would answer."""
    return serve(lambda asked: page(number=2))


@pytest.fixture
def tokens(serve: Serve) -> FaultServer:
    """A token endpoint at every path."""
    return serve(lambda asked: answer(TOKEN))


# -- four faults of another library ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["body", "Link header", "redirect", "path"])
def test_no_credential_goes_to_a_host_that_a_link_names(
    serve: Serve, other: FaultServer, tokens: FaultServer, kind: str, place: str
) -> None:
    """A next link, a redirect or a path to another host is an error, and that host receives no byte."""
    elsewhere = f"{other.origin}/rows"
    home = serve(
        {
            "body": lambda asked: page(elsewhere),
            "Link header": lambda asked: answer([{"id": 1}], headers={"Link": f'<{elsewhere}>; rel="next"'}),
            "redirect": lambda asked: Reply(status=302, headers={"Location": elsewhere}),
            "path": lambda asked: page(),
        }[place]
    )
    endpoint = {"body": LINKED, "path": Endpoint(elsewhere)}.get(place, Endpoint("rows", pages=LinkHeader()))
    with pytest.raises(SourceFormatError, match="leads to another origin"):
        ids(home, endpoint, auth=credentials(f"{tokens.origin}/token")[kind])
    assert (other.connections, bytes(other.received)) == (0, b"")


def test_a_header_of_our_own_does_not_follow_a_redirect(serve: Serve, other: FaultServer) -> None:
    """A key in a header of the resource stays at home when a redirect leads to another origin that is allowed."""
    home = serve(lambda asked: Reply(status=307, headers={"Location": f"{other.origin}/rows"}))
    assert ids(home, headers={"X-Key": "sesame"}, link_origins=[other.origin], private_links=True) == ["2"]
    assert (home.asked[0].headers["x-key"], b"sesame" in other.received) == ("sesame", False)


@pytest.mark.parametrize("link", ["/rows", "rows", "?", "", "{origin}/rows", "/./rows", "/rows#more", "//{host}/rows"])
def test_a_page_that_links_to_itself_is_read_once(serve: Serve, link: str) -> None:
    """A next link to the same page, however it is written, ends the reading after one request."""
    home = serve(lambda asked: page(link.format(origin=home.origin, host=urlsplit(home.origin).netloc)))
    with suppress(SourceFormatError):
        ids(home)
    assert home.targets in (["/rows"], ["/rows", "/./rows"])


def test_a_post_is_not_repeated_after_503(serve: Serve) -> None:
    """A POST that was answered 503 may have been carried out, so it is sent once."""
    home = serve(lambda asked: Reply(status=503))
    with suppress(EtlError):
        ids(home, Endpoint("rows", post=Post(body={})), retry=Retry(attempts=3, initial_seconds=0.01))
    assert len(home.asked) == 1


# -- links to origins that are allowed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["link", "redirect"])
def test_a_link_to_an_allowed_origin_carries_nothing(serve: Serve, other: FaultServer, tokens: FaultServer, kind: str, by: str) -> None:
    """An allowed origin gets the request itself: no credential, no header of ours, no cookie, no query of ours."""
    elsewhere = f"{other.origin}/rows?signature=theirs"
    home = serve(
        lambda asked: (
            answer({"data": [{"id": 1}], "next": elsewhere}, headers={"Set-Cookie": "theirs=1"})
            if by == "link"
            else Reply(status=302, headers={"Location": elsewhere, "Set-Cookie": "theirs=1"})
        )
    )
    endpoint = Endpoint("rows", parameters={"mine": "1"}, records="data", pages=NextUrl(path="next"))
    auth = credentials(f"{tokens.origin}/token")[kind]
    settings: dict[str, Any] = {"headers": {"X-Mine": "1"}, "link_origins": [other.origin], "private_links": True}
    assert ids(home, endpoint, auth=auth, **settings) == (["1", "2"] if by == "link" else ["2"])
    (asked,) = other.asked
    assert (asked.target, set(asked.headers)) == (
        "/rows?signature=theirs",
        {"host", "user-agent", "accept-encoding", "accept", "connection"},
    )


def test_an_allowed_origin_gives_no_cookies_to_another(serve: Serve, other: FaultServer) -> None:
    """Cookies of one allowed origin are not kept, so another one does not get them."""
    first = serve(lambda asked: answer({"data": [{"id": 1}], "next": f"{other.origin}/rows"}, headers={"Set-Cookie": "theirs=1"}))
    home = serve(lambda asked: page(f"{first.origin}/rows"))
    ids(home, link_origins=[first.origin, other.origin], private_links=True)
    assert "cookie" not in other.asked[0].headers


def test_cookies_of_the_api_are_sent_back_to_it(serve: Serve) -> None:
    """A session cookie that the API sets comes with the next page."""
    home = serve(
        lambda asked: answer({"data": [{"id": 1}], "next": "/more" if asked.path == "/rows" else None}, headers={"Set-Cookie": "s=1"})
    )
    ids(home)
    assert home.asked[1].headers["cookie"] == "s=1"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("by", ["link", "redirect"])
def test_a_link_to_a_private_address_sends_nothing(serve: Serve, name: str, by: str) -> None:
    """An allowed origin at a private address gets no byte, also where a name resolves to it, unless private_links says so."""
    inside = serve(lambda asked: page(number=2), name=name)
    elsewhere = f"{inside.origin}/rows"
    home = serve(lambda asked: page(elsewhere) if by == "link" else Reply(status=302, headers={"Location": elsewhere}))
    with pytest.raises(SourceFormatError, match=rf"leads to {name}, at the private address 127\.0\.0\.1\. Next: nothing was sent"):
        ids(home, link_origins=[inside.origin])
    assert bytes(inside.received) == b""


def test_a_link_to_a_private_address_sends_no_handshake(serve: Serve, tmp_path: Path) -> None:
    """Not even TLS is begun with a private address."""
    context, certificate = self_signed(tmp_path)
    inside = serve(lambda asked: page(), tls=context)
    watcher = serve(lambda asked: page())
    home = serve(lambda asked: page(f"https://127.0.0.1:{urlsplit(watcher.origin).port}/rows"))
    with pytest.raises(SourceFormatError, match="private address"):
        ids(home, link_origins=[watcher.origin.replace("http", "https"), inside.origin], tls_ca_file=str(certificate))
    assert bytes(watcher.received) == b""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_private_link_may_be_allowed(serve: Serve, name: str) -> None:
    """private_links says that links may lead to private addresses."""
    inside = serve(lambda asked: page(number=2), name=name)
    assert ids(serve(lambda asked: page(f"{inside.origin}/rows")), link_origins=[inside.origin], private_links=True) == ["1", "2"]


@pytest.mark.parametrize("link", ["/more", "more", "?page=2", "//{host}/more"])
def test_relative_links_on_a_foreign_page_stay_there(serve: Serve, link: str) -> None:
    """A relative link on a page of another origin leads to that origin, without credentials."""
    foreign = serve(lambda asked: page(link.format(host=urlsplit(foreign.origin).netloc) if len(foreign.asked) == 1 else None, 2))
    home = serve(lambda asked: page(f"{foreign.origin}/rows"))
    got = ids(home, auth=BearerToken(token="sesame"), link_origins=[foreign.origin], private_links=True)
    assert (got, len(home.asked), b"sesame" in foreign.received) == (["1", "2", "2"], 1, False)


def test_a_foreign_page_may_lead_home(serve: Serve) -> None:
    """A link from an allowed origin back to the API is followed, with its credentials again."""
    foreign = serve(lambda asked: page(f"{home.origin}/more", 2))
    home = serve(lambda asked: page(f"{foreign.origin}/rows" if asked.path == "/rows" else None, 3))
    ids(home, auth=BearerToken(token="sesame"), link_origins=[foreign.origin], private_links=True)
    assert home.asked[1].headers["authorization"] == "Bearer sesame"


def test_a_foreign_page_may_not_lead_on(serve: Serve, other: FaultServer) -> None:
    """A link from an allowed origin to one that is not is refused."""
    foreign = serve(lambda asked: page(f"{other.origin}/rows"))
    with pytest.raises(SourceFormatError, match="another origin"):
        ids(serve(lambda asked: page(f"{foreign.origin}/rows")), link_origins=[foreign.origin], private_links=True)
    assert other.connections == 0


@pytest.mark.parametrize("userinfo", ["user:pw@", "user@", "@", ":@"])
def test_a_link_with_a_password_is_refused(serve: Serve, other: FaultServer, userinfo: str) -> None:
    """A link that brings credentials of its own for an allowed origin is refused, and nothing is sent."""
    home = serve(lambda asked: page(f"{other.origin.replace('://', f'://{userinfo}')}/rows"))
    with pytest.raises(SourceFormatError, match="another origin"):
        ids(home, link_origins=[other.origin], private_links=True)
    assert other.connections == 0


@pytest.mark.parametrize(
    "link",
    ["http://allowed.example@{host}/rows", "http://{host}\\@allowed.example/rows", "http://allowed.example\\.{host}/rows",
     "ftp://{host}/rows", "file:///etc/passwd", "http:///rows", "http://{host}.allowed.example/rows", "http://allowed.example.{host}/rows",
     "javascript:alert(1)"],
)  # fmt: skip
def test_a_link_that_only_looks_allowed_is_refused(serve: Serve, other: FaultServer, link: str) -> None:
    """A link whose host only resembles an allowed one is refused, however it is written."""
    home = serve(lambda asked: page(link.format(host=urlsplit(other.origin).netloc)))
    with pytest.raises(SourceFormatError):
        ids(home, link_origins=["http://allowed.example"], private_links=True)
    assert other.connections == 0


@pytest.mark.parametrize("given", ["files.example.com", "ftp://files.example.com", "", "http://", "http://[::1", "http://h:port"])
def test_an_origin_that_is_none_is_refused(serve: Serve, given: str) -> None:
    """What is no http or https origin cannot be allowed."""
    with pytest.raises(ConfigurationError, match="link_origins: .* is no origin"):
        ids(serve(lambda asked: page()), link_origins=[given])


@pytest.mark.parametrize("by", ["link", "redirect"])
def test_https_does_not_lead_to_http(serve: Serve, other: FaultServer, tmp_path: Path, by: str) -> None:
    """From https nothing is followed to http, also when that origin is allowed."""
    context, certificate = self_signed(tmp_path)
    elsewhere = f"{other.origin}/rows"
    home = serve(lambda asked: page(elsewhere) if by == "link" else Reply(status=302, headers={"Location": elsewhere}), tls=context)
    with pytest.raises(SourceFormatError, match="leads from https to http"):
        ids(home, link_origins=[other.origin], private_links=True, tls_ca_file=str(certificate))
    assert other.connections == 0


def test_https_does_not_lead_to_http_of_the_same_host(serve: Serve, tmp_path: Path) -> None:
    """The same host and port by http is another origin."""
    context, certificate = self_signed(tmp_path)
    home = serve(lambda asked: page(f"{home.origin.replace('https', 'http')}/more"), tls=context)
    with pytest.raises(SourceFormatError, match="leads to another origin, http://"):
        ids(home, tls_ca_file=str(certificate))
    assert len(home.asked) == 1


# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hops", "fine"), [(1, True), (5, True), (6, False)])
def test_redirects_are_bounded(serve: Serve, hops: int, fine: bool) -> None:
    """Five redirects in a row are followed, a sixth is an error."""

    def script(asked: Asked) -> Reply:
        number = int(asked.query.get("hop", 0))
        return page() if number == hops else Reply(status=302, headers={"Location": f"/rows?hop={number + 1}"})

    home = serve(script)
    if fine:
        assert ids(home) == ["1"]
    else:
        with pytest.raises(SourceFormatError, match="redirects lead in a circle"):
            ids(home)


def test_redirects_in_a_circle_end(serve: Serve) -> None:
    """Two addresses that lead to each other are an error."""
    home = serve(lambda asked: Reply(status=302, headers={"Location": "/rows" if asked.path == "/other" else "/other"}))
    with pytest.raises(SourceFormatError, match="circle"):
        ids(home)
    assert len(home.asked) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_inside_the_origin_is_followed(serve: Serve, status: int) -> None:
    """A redirect inside the origin is followed, with credentials, to the address that it gives."""
    home = serve(in_turn({"/rows?a=1": Reply(status=status, headers={"Location": "/v2/rows?b=2"}), "/v2/rows?b=2": page()}))
    ids(home, Endpoint("rows", parameters={"a": 1}, records="data"), auth=BearerToken(token="sesame"))
    assert [(asked.target, asked.headers["authorization"]) for asked in home.asked] == [
        ("/rows?a=1", "Bearer sesame"),
        ("/v2/rows?b=2", "Bearer sesame"),
    ]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_does_not_become_a_get(serve: Serve, status: int) -> None:
    """A redirect that would make a GET of a POST is an error."""
    home = serve(lambda asked: Reply(status=status, headers={"Location": "/v2/rows"}))
    with pytest.raises(SourceFormatError, match=f"answered a POST with {status}, to /v2/rows"):
        ids(home, Endpoint("rows", post=Post(body={"a": 1})))
    assert len(home.asked) == 1


@pytest.mark.parametrize("status", [307, 308])
def test_a_post_is_redirected_with_its_body(serve: Serve, status: int) -> None:
    """A redirect that keeps the method carries the POST, its body and its credentials on."""
    home = serve(lambda asked: page() if asked.path == "/v2/rows" else Reply(status=status, headers={"Location": "/v2/rows"}))
    ids(home, Endpoint("rows", records="data", post=Post(body={"a": 1})), auth=BearerToken(token="sesame"))
    asked = home.asked[1]
    assert (asked.method, json.loads(asked.body), asked.headers["authorization"]) == ("POST", {"a": 1}, "Bearer sesame")


@pytest.mark.parametrize("status", [307, 308])
def test_a_post_is_not_redirected_elsewhere(serve: Serve, other: FaultServer, status: int) -> None:
    """A redirect carries no POST to another origin."""
    home = serve(lambda asked: Reply(status=status, headers={"Location": f"{other.origin}/rows"}))
    with pytest.raises(SourceFormatError, match="another origin"):
        ids(home, Endpoint("rows", post=Post(body={"a": 1})))
    assert other.connections == 0


# -- the environment of the user ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "auth", [NoAuth(), BearerToken(token="ours"), ApiKey(name="key", value="ours", place="query")], ids=["none", "bearer", "key"]
)
def test_the_users_netrc_is_not_read(
    serve: Serve, other: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: Credentials
) -> None:
    """Passwords of the user's .netrc go nowhere: not to the API, not to an allowed origin."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password sesame\ndefault login me password sesame\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    home = serve(lambda asked: page(f"{other.origin}/rows"))
    ids(home, auth=auth, link_origins=[other.origin], private_links=True)
    given = [asked.headers.get("authorization") for asked in (*home.asked, *other.asked)]
    assert given == ["Bearer ours" if isinstance(auth, BearerToken) else None, None]


def test_the_users_netrc_is_not_read_for_the_token_endpoint(
    serve: Serve, tokens: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token endpoint gets the credentials of the client, not those of .netrc."""
    (tmp_path / "netrc").write_text("default login me password sesame\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    auth = OAuth2ClientCredentials(token_url=tokens.origin, client_id="id", client_secret="secret", client_auth="client_secret_post")
    ids(serve(lambda asked: page()), auth=auth)
    assert "authorization" not in tokens.asked[0].headers


@pytest.fixture
def proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> FaultServer:
    """A proxy of the environment; it answers itself, with a page that leads to the address in its query."""
    one = serve(lambda asked: page(asked.query.get("then")))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, one.origin)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return one


def test_the_api_is_asked_through_the_proxy_of_the_environment(proxy: FaultServer) -> None:
    """Who needs a proxy to reach the API sets HTTP_PROXY, as for other programs."""
    assert ids(REMOTE) == ["1"]
    assert proxy.targets == [f"{REMOTE}/rows"]


def test_other_origins_are_asked_without_the_proxy(proxy: FaultServer, other: FaultServer) -> None:
    """A proxy would reach private addresses for us, so links to other origins do not go through it."""
    ids(REMOTE, Endpoint("rows", parameters={"then": f"{other.origin}/rows"}, records="data", pages=NextUrl(path="next")),
        link_origins=[other.origin], private_links=True)  # fmt: skip
    assert (len(proxy.asked), len(other.asked)) == (1, 1)


def test_a_private_address_is_not_reached_through_the_proxy(proxy: FaultServer, other: FaultServer) -> None:
    """Private addresses are refused behind a proxy too."""
    endpoint = Endpoint("rows", parameters={"then": f"{other.origin}/rows"}, records="data", pages=NextUrl(path="next"))
    with pytest.raises(SourceFormatError, match="private address"):
        ids(REMOTE, endpoint, link_origins=[other.origin])
    assert (len(proxy.asked), bytes(other.received)) == (1, b"")


def test_a_proxy_that_drips_is_given_up(serve: Serve, proxy: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes through a proxy has the same deadline."""
    slow = serve(lambda asked: answer([{"id": 1}], drip_seconds=0.2))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, slow.origin)
    with pytest.raises(SourceFormatError, match=r"longer than 0\.3 s"):
        ids(REMOTE, page_seconds=0.3)


# -- http where it can be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_credentials_do_not_leave_over_plain_http(kind: str) -> None:
    """Credentials of any kind are refused for http to another machine, before anything is resolved."""
    with pytest.raises(ConfigurationError, match=r"over plain http\. Next: use https, or say plain_http=True"):
        ids(REMOTE, auth=credentials()[kind])


@pytest.mark.parametrize(
    "base_url", ["http://user:pw@api.invalid", "http://user@api.invalid", "http://u:p@10.0.0.1", "http://u:p@192.168.0.1"]
)
def test_a_password_in_the_address_does_not_leave_over_plain_http(base_url: str) -> None:
    """User and password of base_url are credentials too; a private network is another machine."""
    with pytest.raises(ConfigurationError, match="over plain http"):
        ids(base_url)


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-API-Key", "X-Tenant"])
def test_headers_do_not_leave_over_plain_http(name: str) -> None:
    """A header that may hold a key is refused for http to another machine."""
    with pytest.raises(ConfigurationError, match="over plain http"):
        ids(REMOTE, headers={name: "sesame"})


@pytest.mark.parametrize("settings", [
    {"auth": BearerToken(token="sesame"), "plain_http": True}, {"headers": {"Accept": "text/csv", "User-Agent": "etl", "Prefer": "x"}}, {},
], ids=["said", "harmless headers", "nothing"])  # fmt: skip
def test_what_may_be_read_may_leave_over_plain_http(settings: Mapping[str, Any]) -> None:
    """Requests without secrets, and those for which plain_http says so, are sent over http; here the name is not found."""
    with pytest.raises(ConfigurationError, match="the host is not known"):
        ids(REMOTE, **settings)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_this_machine_is_local(host: str) -> None:
    """Addresses of this machine are local, so http to them is not read on its way."""
    assert is_local(urlsplit(f"http://{host}:80").hostname)


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com", "0.0.0.0", "10.0.0.1", "[::]", "example.com", "127.1"])
def test_another_machine_is_not_local(host: str) -> None:
    """Names that only look local are not."""
    assert not is_local(urlsplit(f"http://{host}:80").hostname)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "240.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
     "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2001:db8::1",
     "64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe"],
)  # fmt: skip
def test_an_address_that_is_not_public(address: str) -> None:
    """Private, loopback, link-local, shared, multicast and reserved addresses are not public, in whatever they are wrapped."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"])
def test_an_address_that_is_public(address: str) -> None:
    """Addresses that everybody reaches are public."""
    assert is_public(address)


# -- the token endpoint ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["client credentials", "refresh token"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_the_token_endpoint_is_not_followed(serve: Serve, other: FaultServer, kind: str, status: int) -> None:
    """The client secret goes to the token endpoint that is configured and nowhere else."""
    tokens = serve(lambda asked: Reply(status=status, headers={"Location": f"{other.origin}/token"}))
    home = serve(lambda asked: page())
    with pytest.raises(AuthenticationError, match="the token endpoint"):
        ids(home, auth=credentials(f"{tokens.origin}/token")[kind])
    assert (other.connections, home.connections) == (0, 0)


@pytest.mark.parametrize("kind", ["client credentials", "refresh token"])
@pytest.mark.parametrize("token_url", [f"{REMOTE}/token", "http://10.0.0.1/token", "ftp://127.0.0.1/token", "token", "", "https://", "https://[::1",
                                       "http://h:port/"])  # fmt: skip
def test_a_token_endpoint_without_tls_is_refused(serve: Serve, kind: str, token_url: str) -> None:
    """A token endpoint that is no https address is refused before anything is sent, plain_http or not."""
    home = serve(lambda asked: page())
    with pytest.raises(ConfigurationError, match="token_url"):
        ids(home, auth=credentials(token_url)[kind], plain_http=True)
    assert home.connections == 0


# -- TLS ---------------------------------------------------------------------------------------------------------------


def test_a_certificate_that_nobody_vouches_for_is_refused(serve: Serve, tmp_path: Path) -> None:
    """A self-signed certificate is an error of configuration, not tried again, and no request is sent."""
    context, _ = self_signed(tmp_path)
    home = serve(lambda asked: page(), tls=context)
    with pytest.raises(ConfigurationError, match=r"the certificate of the server is not trusted \(self-signed certificate.*tls_ca_file"):
        ids(home, retry=Retry(attempts=3, initial_seconds=0.01))
    assert (home.connections, home.asked) == (1, [])


def test_a_certificate_of_a_known_authority_is_accepted(serve: Serve, tmp_path: Path) -> None:
    """tls_ca_file says whom to trust."""
    context, certificate = self_signed(tmp_path)
    assert ids(serve(lambda asked: page(), tls=context), tls_ca_file=str(certificate)) == ["1"]


def test_a_certificate_for_another_name_is_refused(serve: Serve, tmp_path: Path) -> None:
    """A certificate of a known authority counts for its own name only."""
    context, certificate = self_signed(tmp_path, "other.example.com")
    with pytest.raises(ConfigurationError, match="not trusted"):
        ids(serve(lambda asked: page(), tls=context), tls_ca_file=str(certificate))


@pytest.mark.parametrize("content", [None, "", "no certificate"], ids=["missing", "empty", "text"])
def test_an_authority_that_cannot_be_read_is_refused(serve: Serve, tmp_path: Path, content: str | None) -> None:
    """A tls_ca_file that is missing or holds no certificate is an error of configuration that names the setting."""
    context, _ = self_signed(tmp_path)
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(ConfigurationError, match="tls_ca_file"):
        ids(serve(lambda asked: page(), tls=context), tls_ca_file=str(tmp_path / "ca.pem"))


def test_https_to_a_server_without_tls_is_refused(serve: Serve) -> None:
    """A server that does not speak TLS is an error of configuration: base_url has the wrong scheme."""
    home = serve(lambda asked: page())
    with pytest.raises(ConfigurationError, match=r"TLS cannot be spoken .*correct the scheme of base_url"):
        ids(home.origin.replace("http", "https"))


def test_a_handshake_that_breaks_off_is_tried_again() -> None:
    """A server that closes the connection within the handshake may be starting, so it is not an error of configuration."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close_at_once() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.recv(1)
                    connection.close()

        threading.Thread(target=close_at_once, daemon=True).start()
        try:
            with pytest.raises(SourceUnavailableError, match="does not answer"):
                ids(f"https://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def test_the_token_endpoint_is_verified(serve: Serve, tmp_path: Path) -> None:
    """The token endpoint's certificate is verified too, and the client secret is not sent to one that is not trusted."""
    context, _ = self_signed(tmp_path)
    tokens = serve(lambda asked: answer(TOKEN), tls=context)
    with pytest.raises(ConfigurationError, match=r"/token: the certificate of the server is not trusted .*correct token_url"):
        ids(serve(lambda asked: page()), auth=credentials(f"{tokens.origin}/token")["client credentials"])
    assert tokens.asked == []


def test_the_token_endpoint_is_verified_by_the_authority(serve: Serve, tmp_path: Path) -> None:
    """tls_ca_file counts for the token endpoint as for the API."""
    context, certificate = self_signed(tmp_path)
    tokens = serve(lambda asked: answer(TOKEN), tls=context)
    auth = credentials(f"{tokens.origin}/token")["client credentials"]
    assert ids(serve(lambda asked: page()), auth=auth, tls_ca_file=str(certificate)) == ["1"]


def test_an_allowed_origin_is_verified(serve: Serve, tmp_path: Path) -> None:
    """The certificate of an allowed origin is verified before the request is sent."""
    context, _ = self_signed(tmp_path)
    foreign = serve(lambda asked: page(), tls=context)
    with pytest.raises(ConfigurationError, match="not trusted"):
        ids(serve(lambda asked: page(f"{foreign.origin}/rows")), link_origins=[foreign.origin], private_links=True)
    assert foreign.asked == []


# -- settings that contradict each other -------------------------------------------------------------------------------


def test_two_kinds_of_credentials_are_refused(serve: Serve) -> None:
    """Credentials in base_url and in auth are an error: one of them would be dropped."""
    home = serve(lambda asked: page())
    with pytest.raises(ConfigurationError, match="credentials in base_url and in auth"):
        ids(home.origin.replace("://", "://user:pw@"), auth=BearerToken(token="sesame"))


def test_a_query_in_the_base_is_refused(serve: Serve) -> None:
    """A key in the query of base_url would be dropped, so it is an error that does not show it."""
    with pytest.raises(ConfigurationError, match="base_url has a query, which would not be sent") as caught:
        ids(f"{serve(lambda asked: page()).origin}/v1?key=sesame")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": BearerToken(token="sesame\n")},
        {"auth": ApiKey(value="sesame\r\nX-Other: 1")},
        {"auth": ApiKey(name="session", value="sesame\n", place="cookie")},
        {"auth": ApiKey(name="X\nKey", value="sesame")},
        {"headers": {"X-Key": "sesame\n"}},
        {"headers": {"X-Key": " sesame"}},
        {"auth": BearerToken(token="sesame€")},
    ],
    ids=["token", "key", "cookie", "name of a header", "header", "blank", "euro"],
)
def test_what_cannot_be_sent_is_refused(serve: Serve, settings: Mapping[str, Any]) -> None:
    """A credential with a character that no header may hold is an error of configuration, and nothing is sent."""
    home = serve(lambda asked: page())
    with pytest.raises(ConfigurationError, match=r"a character that cannot be sent\. Next: .*line break") as caught:
        ids(home, **settings)
    assert (home.asked, "sesame" in "".join(traceback.format_exception(caught.value))) == ([], False)


# -- secrets appear nowhere --------------------------------------------------------------------------------------------

CANARY = "c4n4ry/5e5ame+=&?"
ENCODED = quote(CANARY, safe="")
USER = "canary-user"
FORMS = {
    CANARY, quote(CANARY), ENCODED, quote_plus(CANARY), base64.b64encode(CANARY.encode()).decode(),
    base64.b64encode(f"{USER}:{CANARY}".encode()).decode(), "t0k3n-of-the-canary",
}  # fmt: skip


def repeated(asked: Asked) -> str:
    """Everything that a request said."""
    return f"{asked.target} {asked.body.decode()} " + " ".join(f"{name}: {value}" for name, value in asked.headers.items())


def with_secrets(token_url: str) -> Mapping[str, Mapping[str, Any]]:
    """Settings with a secret at every place."""
    client: dict[str, Any] = {"token_url": token_url, "client_id": USER, "client_secret": CANARY}
    return {
        "basic": {"auth": BasicAuth(username=USER, password=CANARY)},
        "bearer": {"auth": BearerToken(token=CANARY)},
        "key in a header": {"auth": ApiKey(value=CANARY)},
        "key in the query": {"auth": ApiKey(name="key", value=CANARY, place="query")},
        "key in a cookie": {"auth": ApiKey(name="session", value=CANARY, place="cookie")},
        "client credentials": {"auth": OAuth2ClientCredentials(**client, scope="read")},
        "client credentials in the body": {"auth": OAuth2ClientCredentials(**client, client_auth="client_secret_post")},
        "refresh token": {"auth": OAuth2RefreshToken(**client, refresh_token=CANARY)},
        "header": {"headers": {"X-Key": CANARY}},
        "base_url": {},
    }


# What the API answers; each is a failure for every kind of secret.
FAILURES: Mapping[str, Script] = {
    "401": lambda asked: Reply(status=401, body=repeated(asked).encode()),
    "403": lambda asked: Reply(status=403, body=repeated(asked).encode()),
    "404": lambda asked: Reply(status=404, body=repeated(asked).encode()),
    "400": lambda asked: Reply(status=400, body=repeated(asked).encode()),
    "400 that is long": lambda asked: Reply(status=400, body=b"x" * 180 + repeated(asked).encode()),
    "500": lambda asked: Reply(status=500, body=repeated(asked).encode()),
    "429": lambda asked: Reply(status=429, headers={"Retry-After": "3600"}),
    "HTML": lambda asked: Reply(body=f"<p>{repeated(asked)}".encode()),
    "HTML that is long": lambda asked: Reply(body=b"<" * 40 + repeated(asked).encode()),
    "JSON": lambda asked: answer({"error": repeated(asked)}),
    "a reason": lambda asked: Reply(head=f"HTTP/1.1 418 {repeated(asked)}\r\nContent-Length: 0\r\n\r\n".encode(), body=b""),
    "no HTTP": lambda asked: Reply(head=f"{repeated(asked)}\r\n\r\n".encode(), body=b""),
    "headers that are wrong": lambda asked: Reply(head=f"HTTP/1.1 200 OK\r\n{repeated(asked)}\r\n: x\r\n\r\n".encode(), body=b"{"),
    "broken off": lambda asked: answer([], cut_after=1, cut_by="reset"),
    "closed": lambda asked: Reply(head=b"", body=b""),
    "too slow": lambda asked: answer([{"id": 1}], drip_seconds=0.1),
    "silent": lambda asked: answer([], drip_seconds=60),
    "no gzip": lambda asked: Reply(headers={"Content-Encoding": "gzip"}),
    "a circle": lambda asked: Reply(status=302, headers={"Location": asked.target}),
    "a redirect elsewhere": lambda asked: Reply(status=302, headers={"Location": f"http://elsewhere.invalid/{asked.target}"}),
    "a redirect with a password": lambda asked: Reply(status=302, headers={"Location": f"http://me:{ENCODED}@elsewhere.invalid/"}),
    "a redirect to nowhere": lambda asked: Reply(status=302, headers={"Location": f"http://[::1/{repeated(asked)}"}),
    "a link back": lambda asked: page(asked.target),
    "a link elsewhere": lambda asked: page(f"http://elsewhere.invalid{asked.target}"),
    "a link with a password": lambda asked: page(f"http://me:{ENCODED}@elsewhere.invalid/"),
    "a link that is none": lambda asked: page(f"http://[{asked.target}"),
    "a link that is an object": lambda asked: answer({"data": [], "next": {"href": asked.target}}),
    "another total": lambda asked: answer({"data": [], "next": None, "total": 5}),
}  # fmt: skip
TOKEN_FAILURES: Mapping[str, Script] = {
    "refused": lambda asked: answer({"error": "invalid_client", "error_description": repeated(asked)}, status=400),
    "refused oddly": lambda asked: answer({"error": {"said": repeated(asked)}}, status=400),
    "500": lambda asked: Reply(status=500, body=repeated(asked).encode()),
    "404": lambda asked: Reply(status=404, body=repeated(asked).encode()),
    "HTML": lambda asked: Reply(body=f"<p>{repeated(asked)}".encode()),
    "no token": lambda asked: answer({"said": repeated(asked)}),
    "a list": lambda asked: answer([repeated(asked)]),
    "no HTTP": lambda asked: Reply(head=f"{repeated(asked)}\r\n\r\n".encode(), body=b""),
    "closed": lambda asked: Reply(head=b"", body=b""),
    "a redirect": lambda asked: Reply(status=302, headers={"Location": f"http://elsewhere.invalid/?{asked.body.decode()}"}),
}


def everything(error: BaseException, account: Account, caplog: pytest.LogCaptureFixture) -> str:
    """All that is told of a failure: logs, tracebacks, the account, what Dagster is shown."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None:
        chain.append(one)
        one = one.__cause__ or one.__context__
    assert isinstance(error, EtlError)
    shown = failure(error, "raw/rows")
    told = [*map(str, chain), *map(repr, chain), *traceback.format_exception(error), caplog.text, repr(account), repr(describe(account))]
    return "\n".join([*told, str(shown.description), repr(shown.metadata)])


def found(text: str) -> list[str]:
    """Forms of the canary of which a text holds the start: a part of a secret is too much."""
    return [form for form in FORMS if form[:9] in text]


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every log record of every library, at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


CANARIES = list(with_secrets(""))


def base_of(server: FaultServer, kind: str) -> str:
    """The address of a server, with the canary as password where it stands in base_url."""
    return server.origin.replace("://", f"://{USER}:{ENCODED}@") if kind == "base_url" else server.origin


# Every failure with one secret of each way of travelling; every kind of secret with the failures that repeat what was sent.
FAILING = [(kind, fails) for kind in ("basic", "key in the query", "client credentials") for fails in FAILURES]
FAILING += [(kind, fails) for kind in CANARIES for fails in ("400", "HTML", "no HTTP") if (kind, fails) not in FAILING]


@pytest.mark.parametrize(("kind", "fails"), FAILING)
def test_a_failure_tells_no_secret(serve: Serve, watched: pytest.LogCaptureFixture, kind: str, fails: str) -> None:
    """Whatever the API answers, even all that it was sent, no secret is in logs, errors, causes, the account or Dagster's metadata."""
    tokens = serve(lambda asked: answer({**TOKEN, "access_token": "t0k3n-of-the-canary"}))
    home = serve(FAILURES[fails])
    endpoint = Endpoint("rows", records="data", pages=NextUrl(path="next"), total="total" if fails == "another total" else None)
    api = resource(
        base_of(home, kind), timeout_seconds=0.3 if fails == "silent" else 5, page_seconds=0.3,
        retry=Retry(attempts=2, initial_seconds=0.001), **with_secrets(f"{tokens.origin}/token")[kind],
    )  # fmt: skip
    with open_account() as account, pytest.raises(EtlError) as caught:
        api.read(endpoint)
    assert found(everything(caught.value, account, watched)) == []


@pytest.mark.parametrize("kind", ["client credentials", "client credentials in the body", "refresh token"])
@pytest.mark.parametrize("fails", TOKEN_FAILURES)
def test_a_failure_of_the_token_endpoint_tells_no_secret(serve: Serve, watched: pytest.LogCaptureFixture, kind: str, fails: str) -> None:
    """Whatever the token endpoint answers, even all that it was sent, no secret is told."""
    tokens = serve(TOKEN_FAILURES[fails])
    api = resource(
        serve(lambda asked: page()), retry=Retry(attempts=2, initial_seconds=0.001), **with_secrets(f"{tokens.origin}/token")[kind]
    )
    with open_account() as account, pytest.raises(EtlError) as caught:
        api.read("rows")
    assert found(everything(caught.value, account, watched)) == []


@pytest.mark.parametrize("kind", CANARIES)
@pytest.mark.parametrize("host", ["http://127.0.0.1:{port}", "https://127.0.0.1:{port}", "https://no.such.host.invalid"])
def test_a_server_that_is_not_there_tells_no_secret(serve: Serve, watched: pytest.LogCaptureFixture, kind: str, host: str) -> None:
    """A refused connection and an unknown host, of the API or of the token endpoint, tell no secret."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    base_url = host.format(port=port)
    if kind == "base_url":
        base_url = base_url.replace("://", f"://{USER}:{ENCODED}@")
    api = resource(base_url, retry=Retry(attempts=2, initial_seconds=0.001), **with_secrets(f"{host.format(port=port)}/token")[kind])
    with open_account() as account, pytest.raises(EtlError) as caught:
        api.read("rows")
    assert found(everything(caught.value, account, watched)) == []


@pytest.mark.parametrize("kind", CANARIES)
def test_a_certificate_that_is_not_trusted_tells_no_secret(
    serve: Serve, watched: pytest.LogCaptureFixture, tmp_path: Path, kind: str
) -> None:
    """A failure of TLS tells no secret."""
    context, _ = self_signed(tmp_path)
    home = serve(lambda asked: page(), tls=context)
    tokens = serve(lambda asked: answer(TOKEN))
    with open_account() as account, pytest.raises(EtlError) as caught:
        resource(base_of(home, kind), **with_secrets(f"{tokens.origin}/token")[kind]).read("rows")
    assert found(everything(caught.value, account, watched)) == []


TEXTS: Mapping[str, tuple[Any, Script]] = {
    "a header of CSV": (CsvFormat(), lambda asked: Reply(body=f"{repeated(asked)},,\n1,2\n".encode())),
    "a line of CSV": (CsvFormat(), lambda asked: Reply(body=f"a,b,c,d,e\n{repeated(asked)}\n".encode())),
    "a line of JSON": ("jsonl", lambda asked: Reply(body=repeated(asked).encode())),
    "a long line of JSON": ("jsonl", lambda asked: Reply(body=b"x" * 100 + repeated(asked).encode())),
}


@pytest.mark.parametrize("accounted", [False, True], ids=["without an account", "in an account"])
@pytest.mark.parametrize("kind", ["basic", "key in the query", "base_url"])
@pytest.mark.parametrize("case", TEXTS)
def test_a_text_that_is_a_complaint_tells_no_secret(
    serve: Serve, watched: pytest.LogCaptureFixture, kind: str, case: str, accounted: bool
) -> None:
    """An API that answers 200 with a text that repeats what it was sent puts no secret into errors and unreadable rows."""
    format_, script = TEXTS[case]
    api = resource(base_of(serve(script), kind), **with_secrets("")[kind])
    error: BaseException | None = None
    with open_account() if accounted else nullcontext(Account()) as account:
        try:
            api.read(Endpoint("rows", format=format_))
        except SourceFormatError as raised:
            error = raised
    assert error is not None or account.unreadable
    assert found(repr(account) + (everything(error, account, watched) if error is not None else "")) == []


@pytest.mark.parametrize("kind", CANARIES)
def test_what_succeeds_tells_no_secret(serve: Serve, watched: pytest.LogCaptureFixture, kind: str) -> None:
    """A reading that succeeds, with a link that repeats the query, tells no secret in logs, account and positions."""
    tokens = serve(lambda asked: answer({**TOKEN, "access_token": "t0k3n-of-the-canary"}))
    home = serve(lambda asked: page(None if "page" in asked.query else f"{asked.target}{'&' if '?' in asked.target else '?'}page=2"))
    with open_account() as account:
        frame = resource(base_of(home, kind), **with_secrets(f"{tokens.origin}/token")[kind]).read(LINKED)
    told = "\n".join([watched.text, repr(account), repr(describe(account)), *frame["source_position"]])
    assert (len(frame), found(told)) == (2, [])


def test_the_canary_is_found_where_it_is(serve: Serve, watched: pytest.LogCaptureFixture) -> None:
    """The search finds each form of the canary, and what the library itself logs and raises does hold it without our care."""
    logging.getLogger("someone.else").debug("asked for %s", quote(CANARY))
    with pytest.raises(requests.ConnectionError) as caught, requests.Session() as session:
        session.get("http://127.0.0.1:9/rows", params={"key": CANARY})
    assert quote(CANARY) in found(watched.text)
    assert ENCODED in found(str(caught.value))


class Rows(pa.DataFrameModel):
    """One row per id."""

    id: int


@pytest.mark.parametrize("kind", ["basic", "key in the query", "client credentials", "base_url"])
@pytest.mark.parametrize("fails", [None, "400", "no HTTP", "broken off"])
def test_dagster_is_told_no_secret(serve: Serve, kind: str, fails: str | None) -> None:
    """Neither the events nor the logs of a Dagster run hold a secret, whether it succeeds or fails."""

    @etl_asset(schema="raw")
    def rows(api: RestResource) -> DataFrame[Rows]:
        """Rows of the API."""
        return api.read(Endpoint("rows", records="data")).drop(columns="source_position")

    tokens = serve(lambda asked: answer({**TOKEN, "access_token": "t0k3n-of-the-canary"}))
    home = serve(FAILURES[fails] if fails else lambda asked: page())
    api = resource(base_of(home, kind), **with_secrets(f"{tokens.origin}/token")[kind])
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [rows], instance=instance, raise_on_error=False, resources={"api": api, "io_manager": dg.InMemoryIOManager()}
        )
        told = "\n".join(entry.to_json() + entry.user_message for entry in instance.all_logs(result.run_id))
    assert (result.success, found(told)) == (fails is None, [])
