"""How requests prove who asks: a server of ours verifies what it gets, and a token endpoint of ours gives and refuses tokens."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import dagster as dg
import pandas as pd
import pytest
import requests

from etl_assets.connectors.credentials import (
    ApiKey,
    BasicAuth,
    BearerToken,
    Credentials,
    OAuth2ClientCredentials,
    OAuth2RefreshToken,
    TokenAuth,
)
from etl_assets.connectors.paging import NextUrl, PageNumber
from etl_assets.connectors.rest import Endpoint, Post, RestResource
from etl_assets.errors import AuthenticationError, ConfigurationError, EtlError, SourceUnavailableError
from etl_assets.retry_settings import NO_RETRY, Retry
from etl_assets_tests.fault_proxy import Asked, FaultServer, Reply, Script, answer, in_turn, within

Serve = Callable[..., FaultServer]
ROWS = [{"id": number} for number in range(1, 8)]
IDS = [str(row["id"]) for row in ROWS]
SIZE = 3
PAGED = Endpoint("rows", pages=PageNumber(size=SIZE))
SECONDS = 10
QUICK = Retry(attempts=2, initial_seconds=0.01, jitter=False)


def ids(server: FaultServer, auth: Credentials, endpoint: Endpoint = PAGED, **settings: Any) -> list[str]:
    """The column `id` of an endpoint."""
    api = RestResource(base_url=server.origin, auth=auth, **{"retry": NO_RETRY, "timeout_seconds": 5, **settings})
    return within(SECONDS, lambda: api.read(endpoint))["id"].tolist()


def rows(asked: Asked) -> Reply:
    """The page that is asked for."""
    start = (int(asked.query.get("page", 1)) - 1) * SIZE
    return answer(ROWS[start : start + SIZE])


def guarded(proves: Callable[[Asked], bool]) -> Script:
    """Rows for requests that prove who asks, 401 for others."""
    return lambda asked: rows(asked) if proves(asked) else Reply(status=401)


# -- credentials that are sent as they are -----------------------------------------------------------------------------


def is_basic(asked: Asked, user: str = "me", password: str = "sesame") -> bool:
    """Whether a request has user and password."""
    return asked.headers.get("authorization") == f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


PROOFS: Mapping[str, tuple[Credentials, Callable[[Asked], bool]]] = {
    "basic": (BasicAuth(username="me", password="sesame"), is_basic),
    "basic in Unicode": (BasicAuth(username="Zoë", password="p:ss €"), lambda asked: is_basic(asked, "Zoë", "p:ss €")),
    "bearer": (BearerToken(token="sesame"), lambda asked: asked.headers.get("authorization") == "Bearer sesame"),
    "key in a header": (ApiKey(name="X-Key", value="se same"), lambda asked: asked.headers.get("x-key") == "se same"),
    "key in the query": (ApiKey(name="k y", value="se=&é", place="query"), lambda asked: asked.query.get("k y") == "se=&é"),
    "key in a cookie": (ApiKey(name="key", value="sesame", place="cookie"), lambda asked: asked.headers.get("cookie") == "key=sesame"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROOFS)
def test_the_right_credential_is_accepted(serve: Serve, kind: str) -> None:
    """A server that verifies each request gives all pages for the right credential."""
    auth, proves = PROOFS[kind]
    assert ids(serve(guarded(proves)), auth) == IDS


@pytest.mark.parametrize("kind", PROOFS)
def test_the_wrong_credential_is_refused(serve: Serve, kind: str) -> None:
    """A credential of any kind that the server refuses is an error of authentication, asked for once."""
    auth, _ = PROOFS[kind]
    server = serve(guarded(lambda asked: False))
    with pytest.raises(AuthenticationError, match=r"answered 401 Unauthorized\. Next: check the credentials"):
        ids(server, auth, retry=QUICK)
    assert len(server.asked) == 1


def test_a_key_in_a_cookie_stands_beside_those_of_the_server(serve: Serve) -> None:
    """A cookie that the server sets is sent beside the key."""

    def script(asked: Asked) -> Reply:
        return answer({"data": ROWS, "next": "/more" if asked.path == "/rows" else None}, headers={"Set-Cookie": "theirs=1"})

    server = serve(script)
    ids(server, ApiKey(name="key", value="sesame", place="cookie"), Endpoint("rows", records="data", pages=NextUrl(path="next")))
    assert server.asked[1].headers["cookie"] == "theirs=1; key=sesame"


def test_a_link_that_repeats_the_key_gets_it_once(serve: Serve) -> None:
    """A next link that holds the query of its page, key included, does not grow from page to page."""

    def script(asked: Asked) -> Reply:
        number = int(asked.query.get("page", 1))
        query = asked.target.partition("?")[2].removesuffix(f"&page={number}")
        return answer({"data": [ROWS[number]], "next": f"/rows?{query}&page={number + 1}" if number < 5 else None})

    server = serve(script)
    ids(server, ApiKey(name="key", value="se same", place="query"), Endpoint("rows", records="data", pages=NextUrl(path="next")))
    assert [asked.target.count("key=") for asked in server.asked] == [1] * 5


def test_secrets_come_from_the_environment_when_the_run_starts(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """EnvVar stands for its value in every field of a credential, as it is when the run starts."""
    server = serve(guarded(is_basic))

    @dg.asset
    def count(api: RestResource) -> dg.Output[int]:
        return dg.Output(len(api.read(PAGED)))

    auth = BasicAuth(username=dg.EnvVar("TEST_USER"), password=dg.EnvVar("TEST_PASSWORD"))
    api = RestResource(base_url=dg.EnvVar("TEST_API"), auth=auth, retry=NO_RETRY)
    monkeypatch.setenv("TEST_USER", "me")
    monkeypatch.setenv("TEST_PASSWORD", "sesame")
    monkeypatch.setenv("TEST_API", server.origin)
    assert dg.materialize([count], resources={"api": api}).output_for_node("count") == 7


# -- tokens: how they are asked for ------------------------------------------------------------------------------------


class TokenEndpoint:
    """Gives tokens that are numbered, and knows which one is valid; the API beside it verifies them.

    Attributes:
        given: Number of tokens given.
        refused: Tokens that the API refuses.
    """

    def __init__(self, serve: Serve, **more: Any) -> None:
        self.given = 0
        self.refused: set[str] = set()
        self._more = more
        self.server = serve(self._give)
        self.api = serve(self._verify)
        self.url = f"{self.server.origin}/token"

    @property
    def body(self) -> dict[str, str]:
        """The form of the last request for a token."""
        return dict(parse_qsl(self.server.asked[-1].body.decode(), keep_blank_values=True))

    @property
    def authorization(self) -> str | None:
        """The header of the last request for a token, decoded."""
        given = self.server.asked[-1].headers.get("authorization")
        return base64.b64decode(given.removeprefix("Basic ")).decode() if given else None

    def _give(self, asked: Asked) -> Reply:
        self.given += 1
        return answer({"access_token": f"token-{self.given}", "token_type": "Bearer", "expires_in": 3600, **self._more})

    def _verify(self, asked: Asked) -> Reply:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        return rows(asked) if token == f"token-{self.given}" and token not in self.refused else Reply(status=401)

    def client(self, **more: Any) -> OAuth2ClientCredentials:
        """Client credentials for this endpoint."""
        return OAuth2ClientCredentials(token_url=self.url, client_id="me", client_secret="sesame", **more)

    def refresh(self, **more: Any) -> OAuth2RefreshToken:
        """A refresh token for this endpoint."""
        return OAuth2RefreshToken(token_url=self.url, client_id="me", refresh_token="again", **more)


@pytest.fixture
def tokens(serve: Serve) -> TokenEndpoint:
    """A token endpoint and an API."""
    return TokenEndpoint(serve)


GRANTS: Mapping[str, tuple[Callable[[TokenEndpoint], Credentials], Mapping[str, str], str | None]] = {
    "client": (lambda t: t.client(), {"grant_type": "client_credentials"}, "me:sesame"),
    "client in the body": (
        lambda t: t.client(client_auth="client_secret_post"),
        {"grant_type": "client_credentials", "client_id": "me", "client_secret": "sesame"},
        None,
    ),
    "client with scope": (
        lambda t: t.client(scope="read:rows write"), {"grant_type": "client_credentials", "scope": "read:rows write"}, "me:sesame",
    ),
    "client with audience": (
        lambda t: t.client(audience="https://api.example.com/"),
        {"grant_type": "client_credentials", "audience": "https://api.example.com/"},
        "me:sesame",
    ),
    "refresh": (lambda t: t.refresh(client_secret="sesame"), {"grant_type": "refresh_token", "refresh_token": "again"}, "me:sesame"),
    "refresh in the body": (
        lambda t: t.refresh(client_secret="sesame", client_auth="client_secret_post"),
        {"grant_type": "refresh_token", "refresh_token": "again", "client_id": "me", "client_secret": "sesame"},
        None,
    ),
    "refresh of a public client": (
        lambda t: t.refresh(client_auth="none"), {"grant_type": "refresh_token", "refresh_token": "again", "client_id": "me"}, None,
    ),
    "refresh without a secret": (lambda t: t.refresh(), {"grant_type": "refresh_token", "refresh_token": "again", "client_id": "me"}, None),
    "refresh with scope": (
        lambda t: t.refresh(client_secret="sesame", scope="read"),
        {"grant_type": "refresh_token", "refresh_token": "again", "scope": "read"},
        "me:sesame",
    ),
}  # fmt: skip


@pytest.mark.parametrize("grant", GRANTS)
def test_a_token_is_asked_for_as_the_standard_says(tokens: TokenEndpoint, grant: str) -> None:
    """The form and the header of the request for a token are those of RFC 6749, and hold nothing else."""
    make, body, authorization = GRANTS[grant]
    ids(tokens.api, make(tokens))
    assert (tokens.server.asked[-1].method, tokens.body, tokens.authorization) == ("POST", body, authorization)


@pytest.mark.parametrize("grant", GRANTS)
def test_one_token_serves_all_pages(tokens: TokenEndpoint, grant: str) -> None:
    """A token is asked for once, and sent with each page."""
    make, *_ = GRANTS[grant]
    assert (ids(tokens.api, make(tokens)), tokens.given) == (IDS, 1)


def test_one_token_serves_all_parents(tokens: TokenEndpoint) -> None:
    """A reading of many parents asks for one token."""
    api = RestResource(base_url=tokens.api.origin, auth=tokens.client(), retry=NO_RETRY)
    api.read_children(Endpoint("parents/{id}/rows", pages=PageNumber(size=SIZE)), pd.DataFrame({"id": ["1", "2", "3"]}))
    assert tokens.given == 1


# -- tokens: when they end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_in", "at", "given"),
    [
        # Given up 30 s before their end: 3600 - 30 = 3570.
        (3600, [0, 3569.9], 1),
        (3600, [0, 3570], 2),
        ("3600", [0, 3569.9, 3570], 2),
        (3600, [0, 3570, 3570 + 3569.9], 2),
        (3600, [0, 3570, 3570 + 3570], 3),
        # One that ends within 30 s serves for a second, or each request would ask for another.
        (20, [0, 0.9], 1),
        (20, [0, 1], 2),
        (0, [0, 0.9, 1], 2),
        (-5, [0, 0.9, 1], 2),
        # One that does not say when it ends is kept.
        (None, [0, 1e9], 1),
    ],
)
def test_a_token_is_renewed_before_it_ends(expires_in: Any, at: list[float], given: int) -> None:
    """Requests at these seconds of the clock need so many tokens."""
    now = [0.0]
    fetched: list[str] = []

    def fetch() -> dict[str, Any]:
        fetched.append(f"token-{len(fetched) + 1}")
        return {"access_token": fetched[-1], "expires_in": expires_in}

    auth = TokenAuth(fetch, clock=lambda: now[0])
    for second in at:
        now[0] = second
        request = auth(requests.Request("GET", "http://api.invalid").prepare())
        assert request.headers["Authorization"] == f"Bearer {fetched[-1]}"
    assert len(fetched) == given


def test_a_token_without_an_end_is_kept(serve: Serve) -> None:
    """An answer without expires_in gives a token for the whole reading."""
    tokens = TokenEndpoint(serve, expires_in=None)
    assert (ids(tokens.api, tokens.client()), tokens.given) == (IDS, 1)


# -- tokens: when they are refused -------------------------------------------------------------------------------------


def test_a_refused_token_is_renewed_once(tokens: TokenEndpoint) -> None:
    """401 leads to one new token, with which the same request is sent again."""
    tokens.refused = {"token-1"}
    assert (ids(tokens.api, tokens.client()), tokens.given) == (IDS, 2)


def test_a_token_may_be_refused_later(tokens: TokenEndpoint) -> None:
    """A token that is refused on the second page is renewed there, and the first page is not read again."""
    verify = tokens.api._script

    def revoke_after_the_first(asked: Asked) -> Reply:
        if asked.query["page"] == "2":
            tokens.refused = {"token-1"}
        return verify(asked)

    tokens.api._script = revoke_after_the_first
    assert ids(tokens.api, tokens.client()) == IDS
    assert [asked.query["page"] for asked in tokens.api.asked] == ["1", "2", "2", "3"]


def test_a_second_refusal_is_final(tokens: TokenEndpoint) -> None:
    """When the new token is refused too, that is an error of authentication: two tokens, two requests, no more."""
    tokens.refused = {"token-1", "token-2", "token-3"}
    with pytest.raises(AuthenticationError, match="answered 401"):
        ids(tokens.api, tokens.client(), retry=QUICK)
    assert (tokens.given, len(tokens.api.asked)) == (2, 2)


def test_a_forbidden_request_needs_no_new_token(serve: Serve, tokens: TokenEndpoint) -> None:
    """403 is no matter of the token."""
    with pytest.raises(AuthenticationError, match="answered 403"):
        ids(serve(lambda asked: Reply(status=403)), tokens.client())
    assert tokens.given == 1


def test_a_refusal_of_another_origin_needs_no_new_token(serve: Serve, tokens: TokenEndpoint) -> None:
    """An allowed origin never sees the token, so its 401 asks for none."""
    foreign = serve(lambda asked: Reply(status=401))
    home = serve(lambda asked: answer({"data": [], "next": f"{foreign.origin}/rows"}))
    endpoint = Endpoint("rows", records="data", pages=NextUrl(path="next"))
    with pytest.raises(AuthenticationError, match="answered 401"):
        ids(home, tokens.client(), endpoint, link_origins=[foreign.origin], private_links=True)
    assert (tokens.given, len(foreign.asked)) == (1, 1)


def test_a_refused_post_is_sent_again_with_a_new_token(tokens: TokenEndpoint) -> None:
    """401 says that a POST was not carried out, so it is sent again, with its body."""
    tokens.refused = {"token-1"}
    ids(tokens.api, tokens.client(), Endpoint("rows", post=Post(body={"a": 1})))
    assert [json.loads(asked.body) for asked in tokens.api.asked] == [{"a": 1}] * 2


# -- tokens: when the endpoint fails -----------------------------------------------------------------------------------

INVALID = answer({"error": "invalid_client", "error_description": "unknown client"}, status=400)
TOKEN = answer({"access_token": "a", "token_type": "Bearer", "expires_in": 3600})
REFUSALS: Mapping[str, tuple[Reply, str]] = {
    "invalid_client": (INVALID, r"refused \(invalid_client: unknown client\)\. Next: check client id, secret, scope and refresh token"),
    "invalid_client by 401": (answer({"error": "invalid_client"}, status=401), r"refused \(invalid_client"),
    "invalid_grant": (answer({"error": "invalid_grant"}, status=400), r"refused \(invalid_grant"),
    "an error with 200": (answer({"error": "invalid_scope"}), r"refused \(invalid_scope"),
    "an error that is no text": (answer({"error": {"code": 5}}, status=400), "refused"),
    "400 without JSON": (Reply(status=400, body=b"no"), "answered 400"),
    "404": (Reply(status=404, body=b"no"), "answered 404"),
    "a redirect": (Reply(status=302, headers={"Location": "/elsewhere"}), "gave no token"),
    "HTML": (Reply(body=b"<html>sign in</html>"), "gave no token"),
    "nothing": (Reply(status=204, body=b""), "gave no token"),
    "no token": (answer({"token_type": "Bearer"}), "gave no token"),
    "an empty token": (answer({"access_token": ""}), "gave no token"),
    "a list": (answer([1]), "gave no token"),
    "a text": (answer("token"), "gave no token"),
    "null": (answer(None), "gave no token"),
    "a number": (answer(5), "gave no token"),
    "an end that is none": (answer({"access_token": "a", "expires_in": "soon"}), "gave no token"),
    "JSON that is nested too deeply": (Reply(body=b"[" * 100_000), "gave no token"),
    "an end beyond all numbers": (Reply(body=b'{"access_token": "a", "expires_in": 1e999}'), "gave no token"),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("kind", ["client", "refresh"])
def test_an_endpoint_that_gives_no_token_is_an_error_of_authentication(serve: Serve, case: str, kind: str) -> None:
    """What the token endpoint says instead of a token ends the reading at once; nothing is asked of the API."""
    reply, said = REFUSALS[case]
    server, api = serve(lambda asked: reply), serve(rows)
    make: Any = OAuth2ClientCredentials if kind == "client" else OAuth2RefreshToken
    more = {"client_secret": "sesame", **({"refresh_token": "again"} if kind == "refresh" else {})}
    with pytest.raises(AuthenticationError, match=rf"/token: the token endpoint {said}"):
        ids(api, make(token_url=f"{server.origin}/token", client_id="me", **more), retry=QUICK)
    assert (len(server.asked), api.connections) == (1, 0)


LATER: Mapping[str, Reply] = {
    "500": Reply(status=500),
    "503 with JSON": answer({"error": "temporarily_unavailable"}, status=503),
    "429": Reply(status=429),
    "408": Reply(status=408),
    "closed": Reply(head=b"", body=b""),
    "broken off": answer({"access_token": "a"}, promised=999),
    "reset": answer({"access_token": "a"}, cut_after=3, cut_by="reset"),
    "silent": answer({"access_token": "a"}, drip_seconds=60),
    "dripping": answer({"access_token": "a" * 100}, drip_seconds=0.05),
}


def client(server: FaultServer) -> OAuth2ClientCredentials:
    """Client credentials for a token endpoint."""
    return OAuth2ClientCredentials(token_url=f"{server.origin}/token", client_id="me", client_secret="sesame")


@pytest.mark.parametrize("case", LATER)
def test_an_endpoint_that_fails_for_now_is_asked_again(serve: Serve, case: str) -> None:
    """A token endpoint that does not answer, or says to come back, is asked again by the policy of the resource."""
    server = serve(in_turn({"/token": [LATER[case], TOKEN]}))
    assert ids(serve(rows), client(server), retry=QUICK, timeout_seconds=0.5) == IDS


@pytest.mark.parametrize("case", LATER)
def test_an_endpoint_that_keeps_failing_is_unavailable(serve: Serve, case: str) -> None:
    """When it goes on so, the source is unavailable: nothing says that the credentials are wrong."""
    with pytest.raises(SourceUnavailableError, match="/token: the token endpoint (answered|does not answer)"):
        ids(serve(rows), client(serve(lambda asked: LATER[case])), retry=QUICK, timeout_seconds=0.5)


def test_the_wait_that_the_endpoint_asks_for_counts(serve: Serve) -> None:
    """Retry-After of the token endpoint is obeyed as that of the API: an hour ends the reading."""
    server = serve(lambda asked: Reply(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(SourceUnavailableError) as caught:
        ids(serve(rows), client(server), retry=Retry(attempts=3, deadline_seconds=60))
    assert (caught.value.retry_after_seconds, len(server.asked)) == (3600, 1)


@pytest.mark.parametrize("case", LATER)
def test_a_post_is_not_lost_to_the_token_endpoint(serve: Serve, case: str) -> None:
    """A POST that may not be repeated was not sent while there was no token, so it is sent when there is one."""
    server, api = serve(in_turn({"/token": [LATER[case], TOKEN]})), serve(lambda asked: answer(ROWS))
    ids(api, client(server), Endpoint("rows", post=Post(body={})), retry=QUICK, timeout_seconds=0.5)
    assert len(api.asked) == 1


def test_an_endpoint_that_nobody_knows_is_a_matter_of_configuration(serve: Serve) -> None:
    """A token endpoint whose host has no address is named as such, not as the API."""
    auth = OAuth2ClientCredentials(token_url="https://no.such.host.invalid/token", client_id="me", client_secret="sesame")
    with pytest.raises(ConfigurationError, match=r"no\.such\.host\.invalid/token: the host is not known .*correct the host of token_url"):
        ids(serve(rows), auth, retry=QUICK)


@pytest.mark.parametrize("secret", ["line\nbreak", "euro €"])
def test_a_client_secret_that_is_odd_is_one_error(serve: Serve, secret: str) -> None:
    """A client secret with any character is sent, or is one error of ours."""
    server = serve(lambda asked: INVALID)
    auth = OAuth2ClientCredentials(token_url=f"{server.origin}/token", client_id="me", client_secret=secret)
    with pytest.raises(EtlError):
        ids(serve(rows), auth)


# -- signing by a method of one's own ----------------------------------------------------------------------------------

KEY = b"sesame"


def signature(method: str, target: str, body: bytes, nonce: str) -> str:
    """The HMAC that the server of these tests asks for."""
    return hmac.new(KEY, b"\n".join([method.encode(), target.encode(), body, nonce.encode()]), hashlib.sha256).hexdigest()


class SignedResource(RestResource):
    """An API that wants each request signed."""

    def sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign method, address and body, with a number that is used once."""
        nonce = str(next(NONCES))
        request.headers["X-Nonce"] = nonce
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        request.headers["X-Signature"] = signature(str(request.method), request.path_url, body, nonce)
        return request


NONCES = iter(range(10**9))


def signed(replies: Script) -> Script:
    """Verifies the signature, and that its number was never used before."""
    used: set[str] = set()

    def script(asked: Asked) -> Reply:
        nonce = asked.headers.get("x-nonce", "")
        proves = asked.headers.get("x-signature") == signature(asked.method, asked.target, asked.body, nonce)
        if not proves or nonce in used:
            return Reply(status=401)
        used.add(nonce)
        return replies(asked)

    return script


def test_each_request_is_signed(serve: Serve) -> None:
    """`sign` sees each page as it leaves, parameters included."""
    api = SignedResource(base_url=serve(signed(rows)).origin, retry=NO_RETRY)
    assert api.read(Endpoint("rows", parameters={"a": "ü &"}, pages=PageNumber(size=SIZE)))["id"].tolist() == IDS


def test_a_request_that_is_repeated_is_signed_anew(serve: Serve) -> None:
    """Each attempt has a signature of its own."""
    server = serve(signed(in_turn({"/rows": [Reply(status=503), answer(ROWS)]})))
    assert len(SignedResource(base_url=server.origin, retry=QUICK).read("rows")) == 7


def test_a_body_is_signed(serve: Serve) -> None:
    """`sign` sees the body of a POST as it leaves."""
    api = SignedResource(base_url=serve(signed(lambda asked: answer(ROWS))).origin, retry=NO_RETRY)
    assert len(api.read(Endpoint("rows", post=Post(body={"a": "ü"})))) == 7


def test_credentials_are_signed_too(serve: Serve) -> None:
    """`sign` comes after the credentials, so a key in the query is signed."""
    server = serve(signed(lambda asked: answer(ROWS)))
    SignedResource(base_url=server.origin, auth=ApiKey(name="key", value="k", place="query"), retry=NO_RETRY).read("rows")
    assert server.targets == ["/rows?key=k"]


def test_a_request_to_another_origin_is_not_signed(serve: Serve) -> None:
    """What leaves for an allowed origin is not signed."""
    foreign = serve(lambda asked: answer(ROWS))
    home = serve(lambda asked: Reply(status=302, headers={"Location": f"{foreign.origin}/rows"}))
    SignedResource(base_url=home.origin, link_origins=[foreign.origin], private_links=True, retry=NO_RETRY).read("rows")
    assert "x-signature" not in foreign.asked[0].headers


def test_a_signature_that_cannot_be_made_is_told_as_it_is(serve: Serve) -> None:
    """An error of one's own `sign` is raised as it is, and nothing is sent."""

    class Broken(RestResource):
        def sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            raise ValueError("no key for today")

    server = serve(rows)
    with pytest.raises(ValueError, match="no key for today"):
        Broken(base_url=server.origin, retry=QUICK).read("rows")
    assert server.connections == 0
