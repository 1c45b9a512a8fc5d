"""JSON pages of an HTTP API, read as text.

Requests go to the configured origin only: a next link or a redirect to another scheme, host or port is an error, so a credential
cannot leave. Pages are bounded and a repeated page is noticed. One retry policy, one page as its unit.

Not here: conversion to types (contracts do that).
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import dagster as dg
import pandas as pd
import requests
from pydantic import Field

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

_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}


class RestResource(dg.ConfigurableResource["RestResource"]):
    """One HTTP API that answers with JSON."""

    base_url: str = Field(description="Where all paths start, such as https://api.example.com/v1/; nothing is sent elsewhere.")
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
        if urlsplit(self.base_url).scheme not in ("http", "https") or not urlsplit(self.base_url).netloc:
            raise ConfigurationError("base_url", f"{self.base_url!r} is no http or https address.", "set it like https://host/path/.")
        base = self.base_url if self.base_url.endswith("/") else f"{self.base_url}/"
        url: str | None = urljoin(base, path)
        found: list[Mapping[str, Any]] = []
        positions: list[str] = []
        seen: set[str] = set()
        announced: int | None = None
        policy = RetryPolicy(attempts=self.attempts)
        with requests.Session() as session:
            while url is not None:
                self._refuse_foreign(url, base)
                if url in seen:
                    raise SourceFormatError(url, "the next link leads back to a page already read.", "report it to the owner of the API.")
                if len(seen) == max_pages:
                    raise SourceFormatError(url, f"there are more than {max_pages} pages.", "raise max_pages if that is right.")
                seen.add(url)
                document = self._page(session, policy, url, parameters if len(seen) == 1 else None)
                page = select_records(document, records, where=url)
                positions += [f"{path} page {len(seen)} record {number}" for number in range(1, len(page) + 1)]
                found += page
                link = document.get(next_url) if next_url is not None and isinstance(document, Mapping) else None
                if total is not None and announced is None:
                    announced = _count(document, total, url)
                url = urljoin(url, str(link)) if link else None
        if announced is not None and announced != len(found):
            raise SourceFormatError(
                urljoin(base, path),
                f"the server said {announced} records, {len(found)} came.",
                "read again: it may have changed meanwhile.",
            )
        record_read(urljoin(base, path), len(found))
        return frame_of_text(found, positions)

    def _refuse_foreign(self, url: str, base: str) -> None:
        ours, theirs = urlsplit(base), urlsplit(url)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise SourceFormatError(
                f"{ours.scheme}://{ours.netloc}", f"a link leads to another origin, {theirs.scheme}://{theirs.hostname}.",
                "nothing was sent there; if the API moved, set base_url to its new address.",
            )  # fmt: skip

    def _page(self, session: requests.Session, policy: RetryPolicy, url: str, parameters: Mapping[str, str | int] | None) -> Any:
        shown = urlsplit(url)._replace(query="").geturl()

        def fetch() -> requests.Response:
            try:
                answer = session.get(url, params=dict(parameters or {}), timeout=self.timeout_seconds, allow_redirects=False)
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                raise SourceUnavailableError(
                    shown, f"the API does not answer ({_reason(error)}).", "check that it runs and that base_url is right."
                ) from error
            except requests.RequestException as error:
                raise ConfigurationError(shown, f"the request cannot be made ({type(error).__name__}).", "correct base_url.") from error
            if not 200 <= answer.status_code < 300:
                raise _explain_status(answer, shown)
            return answer

        return parse_json(policy.call(fetch, doing=f"GET {shown}").content, where=shown)


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
        target = urlsplit(answer.headers.get("Location", ""))
        return SourceFormatError(shown, f"{said}, to {target.netloc}{target.path}.", "set base_url to the address it redirects to.")
    return SourceFormatError(shown, f"{said}: {answer.text[:200]!r}.", "correct path and parameters.")


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
