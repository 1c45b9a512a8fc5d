"""One HTTP API, request by request: where requests may go, what they carry, when they are sent again, how much is taken.

Credentials go to the configured origin (scheme, host, port) only. Redirects and links are followed by our own hand: inside that
origin, or to an origin that was declared, without credentials, never from https to http, and to public addresses unless allowed;
anywhere else nothing is sent. One retry policy, one request as its unit.

Not here: which request follows which (`paging.py`, `rest.py`), what the body means (`records.py`).
"""

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import requests
import requests.adapters
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions
from requests.auth import AuthBase, HTTPBasicAuth

from etl_assets.connectors.credentials import Credentials, NoAuth, TokenAuth, authentication
from etl_assets.connectors.hosts import is_local, is_public
from etl_assets.connectors.limits import Caps, Meter, Pace, header, retry_after, says_rate_limited
from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    EtlError,
    OutcomeUnknownError,
    RateLimitedError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnavailableError,
    TransientError,
)
from etl_assets.retry import RetryPolicy

_DEFAULT_PORTS = {"http": 80, "https": 443}
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_REDIRECTS = 5
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        url: Address, absolute.
        method: HTTP method.
        parameters: Query parameters.
        body: Sent as JSON; None for no body.
        safe: Sending it twice does no harm, so it may be sent again when its answer is lost.
    """

    url: str
    method: Literal["GET", "POST"] = "GET"
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    body: Any = None
    safe: bool = True


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: everything that is looked at after the connection was closed.

    Attributes:
        url: Where it came from, after redirects.
        status: HTTP status.
        reason: Its words.
        headers: Names in any case.
        next_link: Address that the header Link names as next; None for none.
        body: Decompressed.
    """

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    next_link: str | None
    body: bytes = field(repr=False)


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
    """

    base: str
    auth: AuthBase
    headers: Mapping[str, str]
    link_origins: frozenset[tuple[str, str | None, int | None]]
    private_links: bool
    verify: str | bool
    timeout_seconds: float
    transient_status: frozenset[int]
    sign: Callable[[requests.PreparedRequest], requests.PreparedRequest] | None


class Client:
    """Sends requests to one API; a context manager that closes its connections."""

    def __init__(self, access: Access, *, policy: RetryPolicy, pace: Pace, caps: Caps) -> None:
        self._access = access
        self._policy = policy
        self._pace = pace
        self.caps = caps
        self._meter = Meter(caps)
        self._answered = False
        self._own = requests.Session()
        self._foreign = _foreign_session(access.private_links)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._own.close()
        self._foreign.close()

    def follow(self, page: str, link: str) -> str:
        """Where a link on a page leads, the configured origin spelt as it was configured, so that one page has one spelling.

        Raises:
            SourceFormatError: It leads where nothing may be sent, or is no address.
        """
        base = urlsplit(self._access.base)
        where = f"{base.scheme}://{base.netloc}"
        try:
            url = urljoin(page, link)
            theirs, found = urlsplit(url), origin(url)
        except ValueError as error:
            raise SourceFormatError(where, "a link is no address.", "correct the path, or report it to the owner of the API.") from error
        if found == origin(self._access.base):
            return urlunsplit((base.scheme, base.netloc, theirs.path, theirs.query, ""))
        if found not in self._access.link_origins or theirs.username is not None:
            raise SourceFormatError(
                where, f"a link leads to another origin, {theirs.scheme}://{theirs.hostname}.",
                "nothing was sent there; if the API moved, set base_url to its new address; if the link is right, name its origin in "
                "link_origins.",
            )  # fmt: skip
        if base.scheme == "https" and theirs.scheme != "https":
            raise SourceFormatError(where, f"a link leads from https to {theirs.scheme}.", "nothing was sent there; ask for an https link.")
        return urlunsplit((theirs.scheme, theirs.netloc, theirs.path, theirs.query, ""))

    def fetch(self, request: Request) -> Answer:
        """Send a request, as often as the policy and its kind allow.

        Raises:
            SourceUnavailableError, RateLimitedError: No answer, or a transient status, after all attempts; or the server asks for a
                longer wait than the policy has.
            OutcomeUnknownError: A request that may not be repeated failed after it was sent.
            AuthenticationError: 401, after one new token where there is one; or 403.
            SourceNotFoundError: 404 or 410.
            SourceFormatError: Another status, a redirect to elsewhere, a page too large or too slow.
            ConfigurationError: The address cannot be asked.
        """
        shown = shown_url(request.url)

        def attempt() -> Answer:
            try:
                return self._once(request)
            except _NotSentError:
                raise
            except TransientError as error:
                if request.safe or isinstance(error, RateLimitedError):
                    raise
                raise OutcomeUnknownError(
                    shown, f"{error.cause} The request was sent, and may have been carried out.",
                    "look at the source before sending it again; say safe=True where sending twice does no harm.",
                ) from error  # fmt: skip

        answer = self._policy.call(attempt, doing=f"{request.method} {shown}")
        self._meter.add(len(answer.body), shown)
        return answer

    def _once(self, request: Request) -> Answer:
        """One attempt: redirects followed, a refused token renewed once."""
        renewed = False
        visited = {request.url}
        while True:
            shown = shown_url(request.url)
            self._pace.wait(shown)
            answer = self._send(request)
            self._pace.heed(answer.headers)
            if answer.status == 401 and isinstance(self._access.auth, TokenAuth) and not renewed:
                self._access.auth.forget()
                renewed = True
            elif 300 <= answer.status < 400 and header(answer.headers, "Location"):
                request = self._redirected(request, answer)
                if request.url in visited or len(visited) > _MOST_REDIRECTS:
                    raise SourceFormatError(shown, "redirects lead in a circle.", "report it to the owner of the API.")
                visited.add(request.url)
            elif 200 <= answer.status < 300:
                return answer
            else:
                raise self._explain_status(answer, shown)

    def _redirected(self, request: Request, answer: Answer) -> Request:
        location = header(answer.headers, "Location")
        # Only 307 and 308 keep the method; a POST that became a GET would ask for something else.
        if request.method == "POST" and answer.status not in (307, 308):
            raise SourceFormatError(
                shown_url(request.url), f"the API answered a POST with {answer.status}, to {_target(location)}.", "correct the path."
            )
        try:
            url = self.follow(answer.url, location)
        except SourceFormatError as error:
            raise SourceFormatError(
                shown_url(request.url),
                f"the API answered {answer.status} {answer.reason}, to {_target(location)}; {error.cause}",
                error.next_step,
            ) from error
        # The new address holds the parameters it needs.
        return Request(
            url=url, method=request.method, body=request.body, safe=request.safe,
            parameters={},
        )  # fmt: skip

    def _send(self, request: Request) -> Answer:
        shown = shown_url(request.url)
        own = origin(request.url) == origin(self._access.base)
        session = self._own if own else self._foreign
        try:
            prepared = session.prepare_request(
                requests.Request(
                    request.method,
                    request.url,
                    params=request.parameters,
                    json=request.body,
                    headers=dict(self._access.headers) if own else {},
                    auth=self._access.auth if own else authentication(NoAuth()),
                )
            )
            if own and self._access.sign is not None:
                prepared = self._access.sign(prepared)
            environment: Any = session.merge_environment_settings(str(prepared.url), {}, True, self._access.verify, None)
            # The connection of a broken answer is not used again, and nothing follows a redirect but `follow`.
            with session.send(prepared, timeout=self._access.timeout_seconds, allow_redirects=False, **environment) as response:
                self._answered = True
                return Answer(
                    url=request.url,
                    status=response.status_code,
                    reason=response.reason,
                    headers=dict(response.headers),
                    next_link=response.links.get("next", {}).get("url"),
                    body=self._read_body(response, shown),
                )
        except _PrivateAddressError as error:
            raise SourceFormatError(
                shown, f"a link leads to {error}.", "nothing was sent there; say private_links=True if that is right."
            ) from error
        except requests.exceptions.SSLError as error:
            raise ConfigurationError(
                shown, f"the certificate of the server is not trusted ({_reason(error)}).",
                "set tls_ca_file to the authority that signed it, or correct base_url.",
            ) from error  # fmt: skip
        except requests.exceptions.ConnectionError as error:
            private = next((cause for cause in _causes(error) if isinstance(cause, _PrivateAddressError)), None)
            if private is not None:
                raise SourceFormatError(
                    shown, f"a link leads to {private}.", "nothing was sent there; say private_links=True if that is right."
                ) from error
            if not self._answered and _is_unknown_host(error):
                raise ConfigurationError(
                    shown, f"the host is not known ({_reason(error)}).", "correct the host of base_url, or the name service."
                ) from error
            raise _unanswered(error, shown) from error
        except (requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise _unanswered(error, shown) from error
        except requests.exceptions.ContentDecodingError as error:
            raise SourceFormatError(
                shown, f"the body is not compressed as announced ({_reason(error)}).", "report it to the owner of the API."
            ) from error
        except requests.RequestException as error:
            raise ConfigurationError(shown, f"the request cannot be made ({type(error).__name__}).", "correct base_url.") from error
        except UnicodeError as error:
            raise ConfigurationError(shown, "a credential or a header is not ASCII.", "correct it.") from error

    def _read_body(self, response: requests.Response, shown: str) -> bytes:
        """Read the body piece by piece, so that neither a huge nor an endless one is taken whole."""
        caps = self.caps
        started = time.monotonic()
        body = bytearray()
        for piece in response.iter_content(_PIECE_BYTES):
            body += piece
            if len(body) > caps.page_bytes:
                raise SourceFormatError(
                    shown, f"the page is larger than {caps.page_bytes} bytes.", "ask for smaller pages, or raise page_bytes."
                )
            if time.monotonic() - started > caps.page_seconds:
                raise SourceFormatError(
                    shown, f"the page took longer than {caps.page_seconds:g} s.", "ask for smaller pages, or raise page_seconds."
                )
        return bytes(body)

    def _explain_status(self, answer: Answer, shown: str) -> EtlError:
        status = answer.status
        said = f"the API answered {status} {answer.reason}"
        asked = retry_after(answer.headers)
        if says_rate_limited(status, answer.headers):
            wish = f" and asks to wait {asked:.0f} s" if asked else ""
            return RateLimitedError(shown, f"{said}{wish}.", "it is tried again; if it stays, ask less often.", retry_after_seconds=asked)
        if status in self._access.transient_status:
            wish = f" and asks to wait {asked:.0f} s" if asked else ""
            return SourceUnavailableError(
                shown, f"{said}{wish}.", "it is tried again; if it stays, ask the owner of the API.", retry_after_seconds=asked
            )
        if status in (401, 403):
            return AuthenticationError(shown, f"{said}.", "check the credentials.")
        if status in (404, 410):
            return SourceNotFoundError(shown, f"{said}.", "correct the path or base_url.")
        if 300 <= status < 400:
            return SourceFormatError(shown, f"{said} without an address.", "report it to the owner of the API.")
        text = answer.body[:200].decode("utf-8", "replace")
        return SourceFormatError(shown, f"{said}: {text!r}.", "correct path and parameters.")


# -- addresses ----------------------------------------------------------------------------------------------------------


def base_folder(base_url: str) -> str:
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


def access_of(base_url: str, credentials: Credentials, verify: str | bool, *, plain_http: bool) -> tuple[str, AuthBase]:
    """The base folder and what to attach, user and password of the address included.

    Raises:
        ConfigurationError: No address, or credentials that would be readable on their way.
    """
    base = base_folder(base_url)
    parts = urlsplit(base_url)
    auth = authentication(credentials, verify=verify)
    if parts.username is not None:
        auth = HTTPBasicAuth(unquote(parts.username).encode(), unquote(parts.password or "").encode())
    secret = parts.username is not None or not isinstance(credentials, NoAuth)
    if secret and parts.scheme == "http" and not is_local(parts.hostname) and not plain_http:
        raise ConfigurationError(
            base, "credentials would be sent readable, over plain http.", "use https, or say plain_http=True where the network is trusted."
        )
    return base, auth


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port, the port of the scheme where none is written; ValueError where the text is no address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def shown_url(url: str) -> str:
    """The address without user, password and query, which may hold secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _target(location: str) -> str:
    try:
        return shown_url(location).partition("//")[2] or shown_url(location)
    except ValueError:
        return "what is no address"


# -- links that came from data ------------------------------------------------------------------------------------------


class _PrivateAddressError(Exception):
    """A link's host is at an address that is not public."""


def _refuse_private(host: str, address: str) -> None:
    if not is_public(address):
        raise _PrivateAddressError(f"{host}, at the private address {address}")


class _GuardedHTTPConnection(urllib3.connection.HTTPConnection):
    """Looks at the address it is connected to before anything is sent: a name may resolve to another one each time."""

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        try:
            _refuse_private(str(self.host), connection.getpeername()[0])
        except _PrivateAddressError:
            connection.close()
            raise
        return connection


class _GuardedHTTPSConnection(urllib3.connection.HTTPSConnection):
    """The same, before the first byte of TLS."""

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        try:
            _refuse_private(str(self.host), connection.getpeername()[0])
        except _PrivateAddressError:
            connection.close()
            raise
        return connection


class _GuardedHTTPConnectionPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _GuardedHTTPConnection


class _GuardedHTTPSConnectionPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _GuardedHTTPSConnection


class _GuardedAdapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _GuardedHTTPConnectionPool, "https": _GuardedHTTPSConnectionPool}


def _foreign_session(private_links: bool) -> requests.Session:
    """A session for other origins: nothing of the user's environment, and public addresses only unless others are allowed."""
    session = requests.Session()
    session.trust_env = False
    if not private_links:
        for scheme in ("http://", "https://"):
            session.mount(scheme, _GuardedAdapter())
    return session


# -- failures -----------------------------------------------------------------------------------------------------------


class _NotSentError(SourceUnavailableError):
    """The connection could not be made, so the request was certainly not sent."""


def _unanswered(error: requests.RequestException, shown: str) -> EtlError:
    reason = _reason(error)
    kind = _NotSentError if _was_not_sent(error) else SourceUnavailableError
    return kind(shown, f"the API does not answer ({reason}).", "check that it runs and that base_url is right.")


def _is_unknown_host(error: requests.RequestException) -> bool:
    """Whether the name has no address; a name service that does not answer may do so later."""
    resolutions = [cause for cause in _causes(error) if isinstance(cause, socket.gaierror)]
    return bool(resolutions) and all(cause.errno != socket.EAI_AGAIN for cause in resolutions)


def _was_not_sent(error: requests.RequestException) -> bool:
    kinds = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)  # name resolution included
    return isinstance(error, requests.ConnectTimeout) or any(isinstance(cause, kinds) for cause in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    pending: list[Any] = [error]
    while pending:
        one = pending.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            pending += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found


def _reason(error: Exception) -> str:
    cause: BaseException = error
    while (cause.__cause__ or cause.__context__) is not None:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return str(cause).rsplit(": ", 1)[-1] or type(cause).__name__


__all__ = [
    "TRANSIENT_STATUS", "Access", "Answer", "Client", "Request", "access_of", "base_folder", "origin", "shown_url",
]  # fmt: skip
