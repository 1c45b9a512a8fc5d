"""JSON pages of an HTTP API, read as text.

Requests go to the configured origin only: a next link or a redirect to another scheme, host or port is an error, so a credential
cannot leave. User and password of base_url are sent as basic authentication and, like queries, shown nowhere. Pages are bounded in
number, bytes and time, and a repeated page is noticed. One retry policy, one page as its unit; a server that asks to wait is obeyed.

Not here: how an API is paged (`paging.py`), kinds of credentials (`credentials.py`), conversion to types (contracts do that).
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import dagster as dg
import pandas as pd
import requests
from pydantic import Field
from requests.auth import HTTPBasicAuth

from etl_assets.accounting import record_read
from etl_assets.connectors.credentials import SECRET, ApiKey, BasicAuth, BearerToken, NoAuth, authentication
from etl_assets.connectors.paging import PageAnswer, PageRequest, Paginator, SinglePage
from etl_assets.connectors.records import frame_of_text, parse_json, select, select_records
from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    EtlError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from etl_assets.retry import RetryPolicy

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SINGLE_PAGE = SinglePage()
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}


class RestResource(dg.ConfigurableResource["RestResource"]):
    """One HTTP API that answers with JSON."""

    base_url: str = Field(
        description="Where all paths start, such as https://api.example.com/v1/, with user:password@ before the host where the API asks "
        "for basic authentication; nothing is sent elsewhere.",
        json_schema_extra=SECRET,
    )
    auth: NoAuth | BasicAuth | BearerToken | ApiKey = Field(
        default=NoAuth(), discriminator="kind", description="How requests prove who asks; see connectors/credentials.py."
    )
    timeout_seconds: float = Field(default=30.0, description="Longest silence of the server, for connecting and for each read.")
    page_seconds: float = Field(default=300.0, description="Longest time for one page, however slowly it drips.")
    page_bytes: int = Field(default=256 * 2**20, description="Largest page, after decompression.")
    attempts: int = Field(default=4, description="Calls for one page in all, when the server does not answer or asks to wait.")

    def read(
        self,
        path: str,
        *,
        parameters: Mapping[str, str | int] | None = None,
        records: str | None = None,
        pages: Paginator = _SINGLE_PAGE,
        total: str | None = None,
        max_pages: int = 1000,
    ) -> pd.DataFrame:
        """All records of an endpoint as text.

        Args:
            path: Relative to `base_url`.
            parameters: Query parameters, sent with every page that is asked for by parameters, and with the first one of a chain of links.
            records: JMESPath of the list of objects in the body; None when the body is the list.
            pages: How the API is paged; see connectors/paging.py.
            total: JMESPath of the number of records that the server says there are; compared with what came.
            max_pages: More pages than this are an error.

        Returns:
            One row per record: one text column per key; and `source_position` ("planes.json page 2 record 17", counted from 1).

        Raises:
            SourceUnavailableError: No answer, or 408, 425, 429, 5xx, after all attempts; or the server asks for a longer wait than
                the retry policy has.
            AuthenticationError: 401 or 403.
            SourceNotFoundError: 404 or 410.
            SourceFormatError: Other statuses, no JSON, a foreign link, a repeated page, too many pages, a page too large or too slow,
                or another total.
            ConfigurationError: base_url or a JMESPath expression cannot be used.
        """
        base = _base(self.base_url)
        first = _inside(base, path)
        where = _shown(first)
        found: list[Mapping[str, Any]] = []
        positions: list[str] = []
        announced: int | None = None
        for number, (document, page) in enumerate(self._pages(first, dict(parameters or {}), records, pages, max_pages), start=1):
            positions += [f"{_shown(path)} page {number} record {place}" for place in range(1, len(page) + 1)]
            found += page
            if total is not None and announced is None:
                announced = _count(document, total, where)
        if announced is not None and announced != len(found):
            raise SourceFormatError(
                where, f"the server said {announced} records, {len(found)} came.", "read again: it may have changed meanwhile."
            )
        record_read(where, len(found))
        return frame_of_text(found, positions)

    def _pages(
        self, first: str, parameters: dict[str, str | int], records: str | None, pages: Paginator, max_pages: int
    ) -> Iterator[tuple[Any, list[Mapping[str, Any]]]]:
        """Body and records of each page, until the paginator says it was the last."""
        where = _shown(first)
        asked: set[tuple[str, str]] = set()
        before: list[Mapping[str, Any]] = []
        request: PageRequest | None = pages.first()
        url = first
        with requests.Session() as session:
            session.auth = _credentials(self.base_url) or authentication(self.auth)
            while request is not None:
                url = url if request.link is None else _inside(url, request.link)
                # A link says everything itself; parameters of the first request are in it, or meant to be left out.
                given = {**(parameters if request.link is None else {}), **request.parameters}
                key = (url, repr(sorted(given.items())))
                if key in asked:
                    raise SourceFormatError(where, "the next link leads back to a page already read.", "report it to the owner of the API.")
                if len(asked) == max_pages:
                    raise SourceFormatError(where, f"there are more than {max_pages} pages.", "raise max_pages if that is right.")
                asked.add(key)
                number = len(asked)
                answer = self._fetch(session, url, given)
                document = parse_json(answer.body, where=_shown(url))
                page = select_records(document, records, where=f"{where} page {number}")
                # A server that ignores the parameter gives the same page for ever.
                if page and page == before and request.link is None:
                    raise SourceFormatError(
                        where, f"pages {number - 1} and {number} hold the same records.", "choose the paginator that this API has."
                    )
                before = page
                yield document, page
                seen = PageAnswer(
                    where=where,
                    number=number,
                    records=len(page),
                    document=document,
                    headers=answer.headers,
                    next_link=answer.next_link,
                )
                request = pages.following(seen)

    def _fetch(self, session: requests.Session, url: str, parameters: Mapping[str, str | int]) -> "_Answer":
        """One page, tried again while the policy allows."""
        shown = _shown(url)

        def fetch() -> _Answer:
            try:
                with session.get(url, params=parameters, timeout=self.timeout_seconds, allow_redirects=False, stream=True) as response:
                    answer = _Answer(
                        status=response.status_code,
                        reason=response.reason,
                        headers=dict(response.headers),
                        next_link=response.links.get("next", {}).get("url"),
                        body=self._read_body(response, shown),
                    )
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                raise SourceUnavailableError(
                    shown, f"the API does not answer ({_reason(error)}).", "check that it runs and that base_url is right."
                ) from error
            except requests.exceptions.ContentDecodingError as error:
                raise SourceFormatError(
                    shown, f"the body is not compressed as announced ({_reason(error)}).", "report it to the owner of the API."
                ) from error
            except requests.RequestException as error:
                raise ConfigurationError(shown, f"the request cannot be made ({type(error).__name__}).", "correct base_url.") from error
            except ValueError as error:  # requests reads Location even where it does not follow it
                raise SourceFormatError(shown, "it redirects to what is no address.", "report it to the owner of the API.") from error
            if not 200 <= answer.status < 300:
                raise _explain_status(answer, shown)
            return answer

        return RetryPolicy(attempts=self.attempts).call(fetch, doing=f"GET {shown}")

    def _read_body(self, response: requests.Response, shown: str) -> bytes:
        """Read the body piece by piece, so that neither a huge nor an endless one is taken whole."""
        started = time.monotonic()
        body = bytearray()
        for piece in response.iter_content(64 * 1024):
            body += piece
            if len(body) > self.page_bytes:
                raise SourceFormatError(
                    shown, f"the page is larger than {self.page_bytes} bytes.", "ask for smaller pages, or raise page_bytes."
                )
            if time.monotonic() - started > self.page_seconds:
                raise SourceFormatError(
                    shown, f"the page took longer than {self.page_seconds:g} s.", "ask for smaller pages, or raise page_seconds."
                )
        return bytes(body)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What came back: everything that is looked at after the connection was closed."""

    status: int
    reason: str
    headers: Mapping[str, str]
    next_link: str | None
    body: bytes


def _base(base_url: str) -> str:
    """The folder that paths are relative to, without user and password."""
    try:
        scheme, host, _ = _origin(base_url)
    except ValueError:
        scheme, host = "", None
    if scheme not in _DEFAULT_PORTS or not host:
        raise ConfigurationError("base_url", "it is no http or https address.", "set it like https://host/path/.")
    shown = _shown(base_url)
    return shown if shown.endswith("/") else f"{shown}/"


def _credentials(base_url: str) -> HTTPBasicAuth | None:
    parts = urlsplit(base_url)
    if parts.username is None:
        return None
    return HTTPBasicAuth(unquote(parts.username).encode(), unquote(parts.password or "").encode())


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port, the port of the scheme where none is written; ValueError where the text is no address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _inside(page: str, link: str) -> str:
    """Where a link on a page leads, the origin spelt as the page's own, so that one page has one spelling.

    Raises:
        SourceFormatError: It leads to another origin, or is no address.
    """
    ours = urlsplit(page)
    where = f"{ours.scheme}://{ours.netloc}"
    try:
        url = urljoin(page, link)
        theirs, origin = urlsplit(url), _origin(url)
    except ValueError as error:
        raise SourceFormatError(where, "a link is no address.", "correct the path, or report it to the owner of the API.") from error
    if origin != _origin(page):
        raise SourceFormatError(
            where, f"a link leads to another origin, {theirs.scheme}://{theirs.hostname}.",
            "nothing was sent there; if the API moved, set base_url to its new address.",
        )  # fmt: skip
    return urlunsplit((ours.scheme, ours.netloc, theirs.path, theirs.query, ""))


def _shown(url: str) -> str:
    """The address without user, password and query, which may hold secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _explain_status(answer: _Answer, shown: str) -> EtlError:
    status = answer.status
    said = f"the API answered {status} {answer.reason}"
    if status in _TRANSIENT_STATUS:
        asked = _retry_after(_header(answer, "Retry-After"))
        wish = f" and asks to wait {asked:.0f} s" if asked else ""
        return SourceUnavailableError(
            shown, f"{said}{wish}.", "it is tried again; if it stays, ask the owner of the API.", retry_after_seconds=asked
        )
    if status in (401, 403):
        return AuthenticationError(shown, f"{said}.", "check the credentials.")
    if status in (404, 410):
        return SourceNotFoundError(shown, f"{said}.", "correct the path or base_url.")
    if 300 <= status < 400:
        return SourceFormatError(
            shown, f"{said}, to {_target(_header(answer, 'Location'))}.", "set base_url to the address it redirects to."
        )
    text = answer.body[:200].decode("utf-8", "replace")
    return SourceFormatError(shown, f"{said}: {text!r}.", "correct path and parameters.")


def _header(answer: _Answer, name: str) -> str:
    return next((value for given, value in answer.headers.items() if given.lower() == name.lower()), "")


def _retry_after(value: str) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None when it asks for nothing that can be read."""
    try:
        seconds = float(value) if value.strip().isdigit() else (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
    return seconds if seconds > 0 else None


def _target(location: str) -> str:
    try:
        return _shown(location).partition("//")[2] or _shown(location)
    except ValueError:
        return "what is no address"


def _count(document: Any, path: str, where: str) -> int:
    value = select(document, path)
    try:
        return int(str(value))
    except ValueError:
        raise SourceFormatError(
            where, f"{path!r} should lead to the number of records, it leads to {value!r}.", "correct `total`."
        ) from None


def _reason(error: Exception) -> str:
    cause: BaseException = error
    while (cause.__cause__ or cause.__context__) is not None:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return str(cause).rsplit(": ", 1)[-1] or type(cause).__name__


__all__ = ["RestResource"]
