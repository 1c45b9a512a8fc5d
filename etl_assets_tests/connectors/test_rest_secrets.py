"""Secrets of an API appear nowhere: not in logs, errors, their causes, the account, or what Dagster is shown, whatever the API answers.

Not here: where secrets are sent (`test_rest_security.py`).
"""

import base64
import logging
import socket
import traceback
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

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
    OAuth2ClientCredentials,
    OAuth2RefreshToken,
)
from etl_assets.connectors.csv_text import CsvFormat
from etl_assets.connectors.paging import NextUrl
from etl_assets.connectors.rest import Endpoint, RestResource
from etl_assets.errors import EtlError, SourceFormatError
from etl_assets.loading.io_manager import failure
from etl_assets.metadata import describe
from etl_assets.retry_settings import Retry
from etl_assets_tests.connectors.rest_servers import LINKED, TOKEN, Serve, page, resource
from etl_assets_tests.fault_proxy import Asked, FaultServer, Reply, Script, answer, self_signed

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
