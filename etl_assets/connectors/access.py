"""What an API is to its clients: the folder where paths start, its origin, and what may go there.

Credentials go to the configured origin (scheme, host, port) only, so the origin of an address is what everything is compared by.

Not here: sending requests, and following links (`http.py`); kinds of credentials (`credentials.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from etl_assets.connectors.credentials import Credentials, NoAuth, authentication, secrets_of
from etl_assets.errors import ConfigurationError
from etl_assets.hosts import is_local
from etl_assets.secrets import Secrets

Origin = tuple[str, str | None, int | None]
"""Scheme, host and port."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Headers that hold no secret; any other may.
_HARMLESS = ("accept", "cache-control", "content-type", "if-", "prefer", "range", "user-agent")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where requests may go and what they carry.

    Attributes:
        base: Folder that paths are relative to; its origin is the one that credentials go to.
        auth: Attached to requests to that origin.
        headers: Sent to that origin too, and only there.
        link_origins: Other origins that links and redirects may lead to.
        private_links: Such links may lead to private, loopback and link-local addresses.
        verify: As for `requests`.
        timeout_seconds: Longest silence of the server.
        transient_status: Statuses that are tried again.
        sign: Changes a request that goes to the configured origin, at the very end; None for nothing.
        secrets: Appear in no message.
    """

    base: str
    auth: AuthBase
    headers: Mapping[str, str] = field(repr=False)
    link_origins: frozenset[Origin]
    private_links: bool
    verify: str | bool
    timeout_seconds: float
    transient_status: frozenset[int]
    sign: Callable[[requests.PreparedRequest], requests.PreparedRequest] | None
    secrets: Secrets


def _base_folder(base_url: str) -> str:
    """The folder that paths are relative to, without user and password.

    Raises:
        ConfigurationError: It is no http or https address.
    """
    try:
        scheme, host, _ = origin(base_url)
    except ValueError:
        scheme, host = "", None
    if scheme not in _DEFAULT_PORTS or not host:
        raise ConfigurationError("base_url", "it is no http or https address.", "set it like https://host/path/.")
    shown = shown_url(base_url)
    return shown if shown.endswith("/") else f"{shown}/"


def access_of(
    base_url: str, credentials: Credentials, headers: Mapping[str, str], *, verify: str | bool, timeout_seconds: float, plain_http: bool
) -> tuple[str, AuthBase, Secrets]:
    """The base folder, what to attach, user and password of the address included, and all secrets among them.

    Raises:
        ConfigurationError: No address, two kinds of credentials, or some that would be readable on their way.
    """
    base = _base_folder(base_url)
    parts = urlsplit(base_url)
    if parts.query:
        raise ConfigurationError(
            base, "base_url has a query, which would not be sent.", "give parameters to the Endpoint, a key as ApiKey."
        )
    auth = authentication(credentials, verify=verify, timeout_seconds=timeout_seconds)
    secrets = [*secrets_of(credentials), *(value for name, value in headers.items() if not name.lower().startswith(_HARMLESS))]
    if parts.username is not None:
        if not isinstance(credentials, NoAuth):
            raise ConfigurationError(base, "there are credentials in base_url and in auth.", "leave one of them out.")
        user, password = unquote(parts.username), unquote(parts.password or "")
        auth = HTTPBasicAuth(user.encode(), password.encode())
        secrets += [password, f"{user}:{password}", parts.password or ""]
    carries = bool(secrets) or not isinstance(credentials, NoAuth)
    if carries and parts.scheme == "http" and not is_local(parts.hostname) and not plain_http:
        raise ConfigurationError(
            base, "credentials would be sent readable, over plain http.", "use https, or say plain_http=True where the network is trusted."
        )
    return base, auth, Secrets(secrets)


def origin(url: str) -> Origin:
    """Scheme, host and port, the port of the scheme where none is written; ValueError where the text is no address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def shown_url(url: str) -> str:
    """The address without user, password and query, which may hold secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


__all__ = ["Access", "Origin", "access_of", "origin", "shown_url"]
