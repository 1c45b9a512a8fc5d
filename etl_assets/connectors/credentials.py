"""How a request to an API proves who asks. Values are secrets: give them as EnvVar.

    NoAuth                   nothing, the default
    BasicAuth                user and password (RFC 7617)
    BearerToken              Authorization: Bearer ... (RFC 6750)
    ApiKey                   a key in a header, a query parameter or a cookie
    OAuth2ClientCredentials  a token for client id and secret (RFC 6749, 4.4)
    OAuth2RefreshToken       a token for a refresh token (RFC 6749, 6)

They leave for the configured origin only, and for the token endpoint that is configured beside it. A way of signing of your own is a
subclass of `RestResource` with a method `sign`. Not here: where requests go (`http.py`).
"""

import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urlsplit

import dagster as dg
import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from pydantic import Field
from requests.auth import AuthBase, HTTPBasicAuth

from etl_assets.connectors.hosts import is_local
from etl_assets.errors import AuthenticationError, ConfigurationError, SourceUnavailableError

SECRET: dict[str, Any] = {"dagster__is_secret": True}
_TOKEN_TIMEOUT_SECONDS = 30
# A token is given up this long before it ends, so that it does not end under way.
_EXPIRY_MARGIN_SECONDS = 30


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


class OAuth2ClientCredentials(dg.Config):
    """A bearer token that the token endpoint gives for client id and secret."""

    kind: Literal["oauth2_client_credentials"] = "oauth2_client_credentials"
    token_url: str = Field(description="Address of the token endpoint; https, unless it is on this machine.")
    client_id: str = Field(description="Name of the client.")
    client_secret: str = Field(description="Give it as EnvVar.", json_schema_extra=SECRET)
    scope: str | None = Field(default=None, description="Scopes, separated by blanks.")
    audience: str | None = Field(default=None, description="Audience, where the endpoint asks for one.")
    client_auth: Literal["client_secret_basic", "client_secret_post"] = Field(
        default="client_secret_basic", description="Whether id and secret go into the header Authorization or into the body."
    )


class OAuth2RefreshToken(dg.Config):
    """A bearer token that the token endpoint gives for a refresh token.

    A refresh token that the endpoint replaces at each use cannot be kept here: it is configuration.
    """

    kind: Literal["oauth2_refresh_token"] = "oauth2_refresh_token"
    token_url: str = Field(description="Address of the token endpoint; https, unless it is on this machine.")
    client_id: str = Field(description="Name of the client.")
    client_secret: str | None = Field(default=None, description="Give it as EnvVar; None for a public client.", json_schema_extra=SECRET)
    refresh_token: str = Field(description="Give it as EnvVar.", json_schema_extra=SECRET)
    scope: str | None = Field(default=None, description="Scopes, separated by blanks.")
    client_auth: Literal["client_secret_basic", "client_secret_post", "none"] = Field(
        default="client_secret_basic", description='Whether id and secret go into the header Authorization or into the body; "none" for a '
        "public client."
    )  # fmt: skip


Credentials = NoAuth | BasicAuth | BearerToken | ApiKey | OAuth2ClientCredentials | OAuth2RefreshToken


class _Nothing(AuthBase):
    """Attaches nothing, and keeps `requests` from looking into the user's .netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


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


class TokenAuth(AuthBase):
    """Attaches a token that is asked for when it is first needed, again when it has ended, and again when it was refused."""

    def __init__(self, fetch: Callable[[], dict[str, Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: str | None = None
        self._ends = 0.0

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is None or self._clock() >= self._ends:
            self._renew()
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def forget(self) -> None:
        """Ask for another token before the next request."""
        self._token = None

    def _renew(self) -> None:
        answer = self._fetch()
        self._token = str(answer["access_token"])
        seconds = answer.get("expires_in")
        margin = _EXPIRY_MARGIN_SECONDS
        self._ends = self._clock() + max(float(seconds) - margin, 1.0) if seconds is not None else float("inf")


def authentication(credentials: Credentials, *, verify: str | bool = True) -> AuthBase:
    """What `requests` attaches to a request.

    Args:
        credentials: What to prove it with.
        verify: As for `requests`: the certificates that the token endpoint is verified against.

    Raises:
        ConfigurationError: The token endpoint is no https address.
    """
    if isinstance(credentials, NoAuth):
        return _Nothing()
    if isinstance(credentials, BasicAuth):
        return HTTPBasicAuth(credentials.username.encode(), credentials.password.encode())
    if isinstance(credentials, BearerToken | ApiKey):
        return _Signed(credentials)
    _require_https(credentials.token_url)
    return TokenAuth(lambda: _fetch_token(credentials, verify))


def _require_https(token_url: str) -> None:
    parts = urlsplit(token_url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local(parts.hostname)):
        raise ConfigurationError("token_url", "it is no https address, and the client secret would be readable.", "use https.")


def _fetch_token(credentials: OAuth2ClientCredentials | OAuth2RefreshToken, verify: str | bool) -> dict[str, Any]:
    parts = urlsplit(credentials.token_url)
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if isinstance(credentials, OAuth2ClientCredentials):
        grant = {"grant_type": "client_credentials", **({"audience": credentials.audience} if credentials.audience else {})}
    else:
        grant = {"grant_type": "refresh_token", "refresh_token": credentials.refresh_token}
    grant |= {"scope": credentials.scope} if credentials.scope else {}
    session = OAuth2Session(credentials.client_id, credentials.client_secret, token_endpoint_auth_method=credentials.client_auth)
    try:
        # A redirect would carry the secret to wherever it points.
        answer: dict[str, Any] = session.fetch_token(
            credentials.token_url, verify=verify, timeout=_TOKEN_TIMEOUT_SECONDS, allow_redirects=False, **grant
        )
    except OAuthError as error:
        raise AuthenticationError(
            where, f"the token endpoint refused ({error.error}: {error.description}).", "check client id, secret, scope and refresh token."
        ) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise SourceUnavailableError(
            where, f"the token endpoint does not answer ({type(error).__name__}).", "check token_url, and that it is reachable."
        ) from error
    except requests.HTTPError as error:
        raise SourceUnavailableError(
            where, f"the token endpoint answered {error.response.status_code}.", "it is tried again; if it stays, ask its owner."
        ) from error
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise AuthenticationError(
            where, f"the token endpoint gave no token ({type(error).__name__}).", "check token_url; it must be the address itself."
        ) from error
    finally:
        session.close()
    if not answer.get("access_token"):
        raise AuthenticationError(where, "the token endpoint gave no token.", "check token_url, client id and secret.")
    return answer


__all__ = [
    "SECRET", "ApiKey", "BasicAuth", "BearerToken", "Credentials", "NoAuth", "OAuth2ClientCredentials", "OAuth2RefreshToken", "TokenAuth",
    "authentication",
]  # fmt: skip
