"""How a request to an API proves who asks. Values are secrets: give them as EnvVar.

    NoAuth        nothing, the default
    BasicAuth     user and password (RFC 7617)
    BearerToken   Authorization: Bearer ... (RFC 6750)
    ApiKey        a key in a header, a query parameter or a cookie

They leave for the configured origin only, because `rest.py` sends nothing elsewhere: no link and no redirect is followed there.
Not here: where requests go.
"""

from typing import Any, Literal

import dagster as dg
import requests
from pydantic import Field
from requests.auth import AuthBase, HTTPBasicAuth

SECRET: dict[str, Any] = {"dagster__is_secret": True}


class NoAuth(dg.Config):
    """Nobody is asked."""

    kind: Literal["none"] = "none"


class BasicAuth(dg.Config):
    """User and password."""

    kind: Literal["basic"] = "basic"
    username: str = Field(description="Name of the user.")
    password: str = Field(description="Give it as EnvVar.", json_schema_extra=SECRET)


class BearerToken(dg.Config):
    """A token in the header Authorization."""

    kind: Literal["bearer"] = "bearer"
    token: str = Field(description="Give it as EnvVar.", json_schema_extra=SECRET)


class ApiKey(dg.Config):
    """A key in a header, a query parameter or a cookie."""

    kind: Literal["api_key"] = "api_key"
    name: str = Field(default="X-API-Key", description="Name of the header, parameter or cookie.")
    value: str = Field(description="Give it as EnvVar.", json_schema_extra=SECRET)
    place: Literal["header", "query", "cookie"] = Field(default="header", description="Where the key goes.")


class _Signed(AuthBase):
    """Attaches a bearer token or an API key to one request."""

    def __init__(self, credentials: BearerToken | ApiKey) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        credentials = self._credentials
        if isinstance(credentials, BearerToken):
            request.headers["Authorization"] = f"Bearer {credentials.token}"
        elif credentials.place == "header":
            request.headers[credentials.name] = credentials.value
        elif credentials.place == "query":
            request.prepare_url(request.url, {credentials.name: credentials.value})
        else:
            others = request.headers.get("Cookie")
            request.headers["Cookie"] = "; ".join(filter(None, [others, f"{credentials.name}={credentials.value}"]))
        return request


def authentication(credentials: NoAuth | BasicAuth | BearerToken | ApiKey) -> AuthBase | None:
    """What `requests` attaches to a request; None for nothing."""
    if isinstance(credentials, BasicAuth):
        return HTTPBasicAuth(credentials.username.encode(), credentials.password.encode())
    return None if isinstance(credentials, NoAuth) else _Signed(credentials)


__all__ = ["SECRET", "ApiKey", "BasicAuth", "BearerToken", "NoAuth", "authentication"]
