"""Where requests may go and what they carry there. Tests watch the other server: it received no byte.

Not here: certificates and settings (`test_rest_trust.py`), what people are told (`test_rest_secrets.py`).
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from etl_assets.connectors.credentials import (
    ApiKey,
    BearerToken,
    Credentials,
    NoAuth,
    OAuth2ClientCredentials,
)
from etl_assets.connectors.paging import LinkHeader, NextUrl
from etl_assets.connectors.rest import Endpoint, Post
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError
from etl_assets.hosts import is_local, is_public
from etl_assets.retry_settings import Retry
from etl_assets_tests.connectors.rest_servers import KINDS, LINKED, REMOTE, Serve, credentials, ids, page
from etl_assets_tests.fault_proxy import Asked, FaultServer, Reply, answer, in_turn, self_signed

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
