"""Connections to an API: no byte is waited for beyond a deadline, no redirect is followed unasked, links from data reach public addresses
only, a body counts when its end came, and what fails becomes one error of ours.

Not here: which request is sent, what it carries and when it is sent again (`http.py`).
"""

import contextlib
import contextvars
import http.client
import http.cookiejar
import io
import logging
import math
import socket
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import requests
import requests.adapters
import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions

from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceUnavailableError
from etl_assets.hosts import is_public

_PIECE_BYTES = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS
# A handshake that ends this way says nothing about certificates.
_BROKEN_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, TimeoutError)
_UNANSWERED = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError)
_END: contextvars.ContextVar[float] = contextvars.ContextVar("end", default=math.inf)


class NotSentError(SourceUnavailableError):
    """The connection could not be made, so the request was certainly not sent."""


# -- deadlines ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Answers that are awaited inside the block have come after so many seconds, or fail; `is_over` tells them from silence."""
    token = _END.set(min(_END.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _END.reset(token)


def is_over() -> bool:
    """Whether the deadline of the block has passed."""
    return time.monotonic() >= _END.get()


class _UntilDeadline(io.RawIOBase):
    """What a socket gives, until the deadline: without it a server that sends a byte now and then is read for ever."""

    def __init__(self, source: Any, connection: socket.socket) -> None:
        self._source = source
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = _END.get() - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        silence = self._connection.gettimeout()
        if silence is None or left < silence:
            self._connection.settimeout(left)
        try:
            count: int | None = self._source.readinto(buffer)
            return count
        finally:
            if self._connection.fileno() >= 0:
                self._connection.settimeout(silence)

    def close(self) -> None:
        self._source.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_UntilDeadline(self.fp.detach(), sock))


class _HTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _Response


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response


# -- links that came from data ------------------------------------------------------------------------------------------


class _PrivateAddressError(Exception):
    """A link's host is at an address that is not public."""


def _public(connection: socket.socket, host: str) -> socket.socket:
    """The connection when it leads to a public address. A name may resolve to another address each time, so this one is looked at."""
    address = connection.getpeername()[0]
    if not is_public(address):
        connection.close()
        raise _PrivateAddressError(f"{host}, at the private address {address}")
    return connection


class _PublicHTTPConnection(_HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _public(super()._new_conn(), str(self.host))


class _PublicHTTPSConnection(_HTTPSConnection):
    """The same, before the first byte of TLS."""

    def _new_conn(self) -> socket.socket:
        return _public(super()._new_conn(), str(self.host))


# -- sessions -----------------------------------------------------------------------------------------------------------


def _pools(plain: type[Any], tls: type[Any]) -> dict[str, type[Any]]:
    return {
        "http": type("Pool", (urllib3.connectionpool.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("Pool", (urllib3.connectionpool.HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections that keep the deadline, also through a proxy of the environment."""

    pools = _pools(_HTTPConnection, _HTTPSConnection)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self.pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager: Any = super().proxy_manager_for(proxy, **options)
        if type(manager) is urllib3.ProxyManager:  # one for SOCKS has connections of its own
            manager.pool_classes_by_scheme = self.pools
        return manager


class _PublicAdapter(_Adapter):
    pools = _pools(_PublicHTTPConnection, _PublicHTTPSConnection)


class NoRedirects(requests.Session):
    """A session to which redirects are answers: `requests` would read their bodies whole, and look at where they lead."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: no answer is a redirect."""
        return


def own_session() -> requests.Session:
    """A session for the configured origin."""
    session = NoRedirects()
    keep_deadline(session)
    return session


def keep_deadline(session: requests.Session) -> None:
    """Give a session connections that keep the deadline."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())


def foreign_session(private_links: bool) -> requests.Session:
    """A session for other origins: nothing of the user's environment, no cookies, and public addresses only unless others are allowed."""
    session = NoRedirects()
    session.trust_env = False
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter() if private_links else _PublicAdapter())
    return session


# -- bodies -------------------------------------------------------------------------------------------------------------


def read_body(response: requests.Response, shown: str, *, most_bytes: int) -> tuple[bytes, bool]:
    """The body, decompressed, and whether the answer said where it ends; what has no end said looks whole when it is cut.

    Raises:
        SourceFormatError: It is larger than `most_bytes`, or compressed in another way than gzip.
        urllib3.exceptions.HTTPError: It broke off.
        zlib.error: It is no gzip.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise SourceFormatError(shown, f"the body comes as {encoding!r}, which was not asked for.", "report it to the owner of the API.")
    zipped = encoding.endswith("gzip")
    told = response.raw.chunked or response.raw.length_remaining is not None
    pieces: Iterable[bytes] = response.raw.stream(_PIECE_BYTES, decode_content=False)
    body = bytearray()
    for piece in _unzipped(pieces) if zipped else pieces:
        body += piece
        if len(body) > most_bytes:
            raise SourceFormatError(shown, f"the page is larger than {most_bytes} bytes.", "ask for smaller pages, or raise page_bytes.")
    return bytes(body), told or (zipped and bool(body))


def read_start(response: requests.Response) -> str:
    """The first words of a body that is shown to a person, as far as they come."""
    with contextlib.suppress(urllib3.exceptions.HTTPError, zlib.error):
        pieces: Iterable[bytes] = response.raw.stream(2000, decode_content=False)
        zipped = response.headers.get("Content-Encoding", "").strip().lower().endswith("gzip")
        for piece in _unzipped(pieces) if zipped else pieces:
            return piece[:2000].decode("utf-8", "replace")
    return ""


def _unzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack gzip, never more than a piece at once. `requests` takes a stream that breaks off for a whole one."""
    member = None
    for piece in pieces:
        data = piece
        while data:
            if member is None:
                member = zlib.decompressobj(_GZIP)
            out = member.decompress(data, _PIECE_BYTES)
            yield out
            while len(out) == _PIECE_BYTES and not member.eof:
                out = member.decompress(member.unconsumed_tail, _PIECE_BYTES)
                yield out
            data = member.unconsumed_tail
            if member.eof:
                # Another member may follow; what is none is padding.
                data = member.unused_data if member.unused_data.startswith(b"\x1f") else b""
                member = None
    if member is not None:
        raise urllib3.exceptions.ProtocolError("the compressed body ended early")


# -- failures -----------------------------------------------------------------------------------------------------------


def explain(error: Exception, shown: str, *, answered: bool = False, about: str = "the API", setting: str = "base_url") -> EtlError | None:
    """What a failure of the connection means; None for what is none.

    Raise it outside of the `except` block: the texts of the libraries hold addresses with their queries, and headers.

    Args:
        error: What `requests`, `urllib3` or `http.client` raised.
        shown: The address without secrets.
        answered: The host has answered before, so its name is right.
        about: Who was asked.
        setting: Name of the setting that holds the address.
    """
    causes = _causes(error)
    reason = _reason(error)
    for cause in causes:
        if isinstance(cause, _PrivateAddressError):
            return SourceFormatError(shown, f"a link leads to {cause}.", "nothing was sent there; say private_links=True if that is right.")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConfigurationError(
                shown, f"the certificate of the server is not trusted ({reason}).",
                f"set tls_ca_file to the authority that signed it, or correct {setting}.",
            )  # fmt: skip
    if isinstance(error, requests.exceptions.SSLError) and not any(isinstance(cause, _BROKEN_OFF) for cause in causes):
        return ConfigurationError(shown, f"TLS cannot be spoken ({reason}).", f"correct the scheme of {setting}, or tls_ca_file.")
    if not answered and _is_unknown_host(causes):
        return ConfigurationError(shown, f"the host is not known ({reason}).", f"correct the host of {setting}, or the name service.")
    if isinstance(error, _UNANSWERED):
        kind = NotSentError if _was_not_sent(error, causes) else SourceUnavailableError
        return kind(shown, f"{about} does not answer ({reason}).", f"check that it runs and that {setting} is right.")
    if isinstance(error, zlib.error | requests.exceptions.ContentDecodingError):
        return SourceFormatError(shown, f"the body is not compressed as announced ({reason}).", f"report it to the owner of {about}.")
    if any(isinstance(cause, urllib3.exceptions.InvalidHeader) for cause in causes):
        return SourceFormatError(shown, f"a header of the answer is wrong ({reason}).", f"report it to the owner of {about}.")
    if isinstance(error, requests.exceptions.InvalidHeader) or type(error) in (ValueError, UnicodeEncodeError):
        return ConfigurationError(
            shown, "a credential or a header has a character that cannot be sent.",
            "correct it; what was read from a file may end with a line break.",
        )  # fmt: skip
    if isinstance(error, requests.RequestException):
        return ConfigurationError(shown, f"the request cannot be made ({type(error).__name__}).", f"correct {setting}.")
    if isinstance(error, OSError):
        return ConfigurationError(shown, f"the certificates to trust cannot be read ({reason}).", "correct tls_ca_file.")
    return None


def _is_unknown_host(causes: list[BaseException]) -> bool:
    """Whether the name has no address; a name service that does not answer may do so later."""
    resolutions = [cause for cause in causes if isinstance(cause, socket.gaierror)]
    return bool(resolutions) and all(cause.errno != socket.EAI_AGAIN for cause in resolutions)


def _was_not_sent(error: Exception, causes: list[BaseException]) -> bool:
    kinds = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)  # name resolution included
    return isinstance(error, requests.ConnectTimeout) or any(isinstance(cause, kinds) for cause in causes)


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
    said = str(cause).rsplit(": ", 1)[-1] or type(cause).__name__
    return " ".join(said.split())


# -- logs ---------------------------------------------------------------------------------------------------------------


def _shorten(record: logging.LogRecord) -> bool:
    """Leave out of what urllib3 logs what may hold secrets: queries, and what a server said where its headers should be."""
    if isinstance(record.args, tuple):
        record.args = tuple(_shortened(argument) for argument in record.args)
    record.exc_info = None
    return True


def _shortened(argument: object) -> object:
    if isinstance(argument, BaseException):
        return type(argument).__name__
    return argument.partition("?")[0] if isinstance(argument, str) else argument


for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_shorten)


__all__ = [
    "NoRedirects",
    "NotSentError",
    "deadline",
    "explain",
    "foreign_session",
    "is_over",
    "keep_deadline",
    "own_session",
    "read_body",
    "read_start",
]
