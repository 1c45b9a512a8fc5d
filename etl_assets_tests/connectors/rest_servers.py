"""An API that leads to other servers, as tests of its connector see it: pages that link on, credentials of each kind.

Not here: the server itself (`../fault_proxy.py`), fixtures (`conftest.py`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from etl_assets.connectors.credentials import (
    ApiKey,
    BasicAuth,
    BearerToken,
    Credentials,
    OAuth2ClientCredentials,
    OAuth2RefreshToken,
)
from etl_assets.connectors.paging import NextUrl
from etl_assets.connectors.rest import Endpoint, RestResource
from etl_assets.retry_settings import NO_RETRY
from etl_assets_tests.fault_proxy import FaultServer, Reply, answer, within

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

__all__ = ["KINDS", "LINKED", "REMOTE", "SECONDS", "TOKEN", "Serve", "credentials", "ids", "page", "resource"]
