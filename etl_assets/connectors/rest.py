"""JSON pages of an HTTP API, read as text.

Requests go to the configured origin only: a next link or a redirect to another scheme, host or port is an error, so a credential
cannot leave. User and password of base_url are sent as basic authentication and, like queries, shown nowhere. Pages are bounded
and a repeated page is noticed. One retry policy, one page as its unit.

Not here: conversion to types (contracts do that).
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import dagster as dg
import pandas as pd
import requests
from pydantic import Field
from requests.auth import HTTPBasicAuth

from etl_assets.accounting import record_read
from etl_assets.connectors.records import frame_of_text, parse_json, select_records
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
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}


class RestResource(dg.ConfigurableResource["RestResource"]):
    """One HTTP API that answers with JSON."""

    base_url: str = Field(
        description="Where all paths start, such as https://api.example.com/v1/, with user:password@ before the host where the API asks "
        "for basic authentication; nothing is sent elsewhere."
    )
    timeout_seconds: float = Field(default=30.0, description="Longest silence of the server, for connecting and for each read.")
    attempts: int = Field(default=4, description="Calls for one page in all, when the server does not answer or asks to wait.")

    def read(
        self,
        path: str,
        *,
        parameters: Mapping[str, str | int] | None = None,
        records: str | None = None,
        next_url: str | None = None,
        total: str | None = None,
        max_pages: int = 1000,
    ) -> pd.DataFrame:
        """All records of an endpoint as text.

        Args:
            path: Relative to `base_url`.
            parameters: Query parameters of the first page.
            records: Key of the list of objects; None when the body is the list.
            next_url: Key of the link to the next page; null, "" or a missing key ends the reading. None reads a single page.
            total: Key of the number of records that the server says there are; compared with what came.
            max_pages: More pages than this are an error.

        Returns:
            One row per record: one text column per key; and `source_position` ("planes.json page 2 record 17", counted from 1).

        Raises:
            SourceUnavailableError: No answer, or 408, 425, 429, 5xx, after all attempts.
            AuthenticationError: 401 or 403.
            SourceNotFoundError: 404 or 410.
            SourceFormatError: Other statuses, no JSON, a foreign or repeated next link, too many pages, or another total.
        """
        base = _base(self.base_url)
        first = _inside(base, path)
        where = _shown(first)
        found: list[Mapping[str, Any]] = []
        positions: list[str] = []
        announced: int | None = None
        with requests.Session() as session:
            session.auth = _credentials(self.base_url)
            for number, document in enumerate(self._documents(session, first, parameters, next_url, max_pages), start=1):
                page = select_records(document, records, where=f"{where} page {number}")
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

    def _documents(
        self, session: requests.Session, first: str, parameters: Mapping[str, str | int] | None, next_url: str | None, max_pages: int
    ) -> Iterator[Any]:
        """The parsed pages, one after the other, along the next links."""
        url: str | None = first
        seen: set[str] = set()
        while url is not None:
            if url in seen:
                raise SourceFormatError(
                    _shown(url), "the next link leads back to a page already read.", "report it to the owner of the API."
                )
            if len(seen) == max_pages:
                raise SourceFormatError(_shown(url), f"there are more than {max_pages} pages.", "raise max_pages if that is right.")
            document = self._page(session, url, {} if seen else dict(parameters or {}))
            seen.add(url)
            yield document
            link = document.get(next_url) if next_url is not None and isinstance(document, Mapping) else None
            url = _inside(url, str(link)) if link else None

    def _page(self, session: requests.Session, url: str, parameters: Mapping[str, str | int]) -> Any:
        shown = _shown(url)

        def fetch() -> requests.Response:
            try:
                answer = session.get(url, params=parameters, timeout=self.timeout_seconds, allow_redirects=False)
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
            if not 200 <= answer.status_code < 300:
                raise _explain_status(answer, shown)
            return answer

        return parse_json(RetryPolicy(attempts=self.attempts).call(fetch, doing=f"GET {shown}").content, where=shown)


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


def _explain_status(answer: requests.Response, shown: str) -> EtlError:
    status = answer.status_code
    said = f"the API answered {status} {answer.reason}"
    if status in _TRANSIENT_STATUS:
        return SourceUnavailableError(shown, f"{said}.", "it is tried again; if it stays, ask the owner of the API.")
    if status in (401, 403):
        return AuthenticationError(shown, f"{said}.", "check the credentials.")
    if status in (404, 410):
        return SourceNotFoundError(shown, f"{said}.", "correct the path or base_url.")
    if 300 <= status < 400:
        return SourceFormatError(
            shown, f"{said}, to {_target(answer.headers.get('Location', ''))}.", "set base_url to the address it redirects to."
        )
    return SourceFormatError(shown, f"{said}: {answer.text[:200]!r}.", "correct path and parameters.")


def _target(location: str) -> str:
    try:
        return _shown(location).partition("//")[2] or _shown(location)
    except ValueError:
        return "what is no address"


def _count(document: Any, key: str, url: str) -> int:
    value = document.get(key) if isinstance(document, Mapping) else None
    try:
        return int(str(value))
    except ValueError:
        raise SourceFormatError(
            url, f"the key {key!r} should hold the number of records, it holds {value!r}.", "correct `total`."
        ) from None


def _reason(error: Exception) -> str:
    cause: BaseException = error
    while (cause.__cause__ or cause.__context__) is not None:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return str(cause).rsplit(": ", 1)[-1] or type(cause).__name__


__all__ = ["RestResource"]
