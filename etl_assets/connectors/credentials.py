"""How a request to an API proves who asks. Values are secrets: give them as EnvVar.

    NoAuth                   nothing, the default
    BasicAuth                user and password (RFC 7617)
    BearerToken              Authorization: Bearer ... (RFC 6750)
    ApiKey                   a key in a header, a query parameter or a cookie
    OAuth2ClientCredentials  a token for client id and secret (RFC 6749, 4.4)
    OAuth2RefreshToken       a token for a refresh token (RFC 6749, 6)

They leave for the configured origin only, and for the token endpoint that is configured beside it. A way of signing of your own is a
subclass of `RestResource` with a method `sign`. Not here: where requests go (`access.py`, `http.py`).
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import dagster as dg
import requests
import urllib3.exceptions
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from pydantic import Field
from requests.auth import AuthBase, HTTPBasicAuth

from etl_assets.connectors.connections import NoRedirects, NotSentError, deadline, explain, keep_deadline
from etl_assets.connectors.limits import retry_after
from etl_assets.errors import AuthenticationError, ConfigurationError, EtlError, SourceUnavailableError
from etl_assets.hosts import is_local
from etl_assets.secrets import SECRET

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
            # A next link often repeats the query of its page.
            if (credentials.name, credentials.value) not in parse_qsl(urlsplit(str(request.url)).query, keep_blank_values=True):
                request.prepare_url(request.url, {credentials.name: credentials.value})
        else:
            others = request.headers.get("Cookie")
            request.headers["Cookie"] = "; ".join(filter(None, [others, f"{credentials.name}={credentials.value}"]))
        return request


class TokenAuth(AuthBase):
    """Attaches a token that is asked for when it is first needed, again when it has ended, and again when it was refused.

    Attributes:
        tokens: Every token that came, the present one last.
    """

    def __init__(self, fetch: Callable[[], Mapping[str, Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens: list[str] = []
        self._fetch = fetch
        self._clock = clock
        self._ends = -math.inf

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._clock() >= self._ends:
            self._renew()
        request.headers["Authorization"] = f"Bearer {self.tokens[-1]}"
        return request

    def forget(self) -> None:
        """Ask for another token before the next request."""
        self._ends = -math.inf

    def _renew(self) -> None:
        answer = self._fetch()
        self.tokens.append(str(answer["access_token"]))
        seconds = answer.get("expires_in")
        self._ends = math.inf if seconds is None else self._clock() + max(float(seconds) - _EXPIRY_MARGIN_SECONDS, 1.0)


def secrets_of(credentials: Credentials) -> Iterator[str]:
    """The values in credentials that nobody else may see."""
    if isinstance(credentials, BasicAuth):
        yield from (credentials.password, f"{credentials.username}:{credentials.password}")
    elif isinstance(credentials, BearerToken):
        yield credentials.token
    elif isinstance(credentials, ApiKey):
        yield credentials.value
    elif isinstance(credentials, OAuth2ClientCredentials):
        yield from (credentials.client_secret, f"{credentials.client_id}:{credentials.client_secret}")
    elif isinstance(credentials, OAuth2RefreshToken):
        yield credentials.refresh_token
        if credentials.client_secret is not None:
            yield from (credentials.client_secret, f"{credentials.client_id}:{credentials.client_secret}")


def authentication(credentials: Credentials, *, verify: str | bool = True, timeout_seconds: float = 30.0) -> AuthBase:
    """What `requests` attaches to a request.

    Args:
        credentials: What to prove it with.
        verify: As for `requests`: the certificates that the token endpoint is verified against.
        timeout_seconds: Longest time for its answer.

    Raises:
        ConfigurationError: The token endpoint is no https address.
    """
    if isinstance(credentials, NoAuth):
        return _Nothing()
    if isinstance(credentials, BasicAuth):
        return HTTPBasicAuth(credentials.username.encode(), credentials.password.encode())
    if isinstance(credentials, BearerToken | ApiKey):
        return _Signed(credentials)
    where = _token_endpoint(credentials.token_url)
    return TokenAuth(lambda: _fetch_token(credentials, verify, where, timeout_seconds))


def _token_endpoint(token_url: str) -> str:
    """The address of the token endpoint without secrets."""
    try:
        parts = urlsplit(token_url)
        allowed = parts.port != 0 and (parts.scheme == "https" or (parts.scheme == "http" and is_local(parts.hostname)))
    except ValueError:
        allowed = False
    if not allowed or not parts.hostname:
        raise ConfigurationError("token_url", "it is no https address, and the client secret would be readable.", "use https.")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _TokenSession(NoRedirects, OAuth2Session):  # type: ignore[misc]
    """Redirects are not followed: one would carry the secret to wherever it points."""


def _fetch_token(
    credentials: OAuth2ClientCredentials | OAuth2RefreshToken, verify: str | bool, where: str, timeout_seconds: float
) -> Mapping[str, Any]:
    if isinstance(credentials, OAuth2ClientCredentials):
        grant = {"grant_type": "client_credentials", **({"audience": credentials.audience} if credentials.audience else {})}
    else:
        grant = {"grant_type": "refresh_token", "refresh_token": credentials.refresh_token}
    grant |= {"scope": credentials.scope} if credentials.scope else {}
    # Without a secret nothing can be proven with it.
    client_auth = "none" if credentials.client_secret is None else credentials.client_auth
    made: Any = _TokenSession
    with made(credentials.client_id, credentials.client_secret, token_endpoint_auth_method=client_auth) as session:
        keep_deadline(session)
        session.register_compliance_hook("access_token_response", lambda response: _look_at(response, where))
        failure: EtlError | None = None
        try:
            with deadline(timeout_seconds):
                answer = session.fetch_token(credentials.token_url, verify=verify, timeout=timeout_seconds, allow_redirects=False, **grant)
            if answer.get("access_token") and _is_number(answer.get("expires_in")):
                return dict(answer)
        except OAuthError as error:
            failure = AuthenticationError(
                where, f"the token endpoint refused ({error.error}: {error.description}).",
                "check client id, secret, scope and refresh token.",
            )  # fmt: skip
        except requests.HTTPError as error:
            failure = AuthenticationError(where, f"the token endpoint answered {error.response.status_code}.", "check token_url.")
        except (requests.JSONDecodeError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
            pass
        except (OSError, UnicodeError, urllib3.exceptions.HTTPError) as error:
            failure = explain(error, where, about="the token endpoint", setting="token_url")
        except ValueError:
            pass
    if isinstance(failure, SourceUnavailableError) and not isinstance(failure, NotSentError):
        failure = NotSentError(*failure.args)
    # Outside of `except`: what the libraries say holds addresses and values.
    raise failure or AuthenticationError(
        where, "the token endpoint gave no token.", "check token_url, which must be the address itself, client id and secret."
    )


def _look_at(response: requests.Response, where: str) -> requests.Response:
    """The answer, unless it says to come back."""
    status = response.status_code
    if status in (408, 425, 429) or status >= 500:
        raise NotSentError(
            where, f"the token endpoint answered {status}.", "it is tried again; if it stays, ask its owner.",
            retry_after_seconds=retry_after(response.headers),
        )  # fmt: skip
    return response


def _is_number(value: Any) -> bool:
    try:
        return value is None or math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


__all__ = [
    "ApiKey", "BasicAuth", "BearerToken", "Credentials", "NoAuth", "OAuth2ClientCredentials", "OAuth2RefreshToken", "TokenAuth",
    "authentication", "secrets_of",
]  # fmt: skip
