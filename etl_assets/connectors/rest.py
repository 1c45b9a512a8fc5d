"""An HTTP API, endpoint by endpoint and page by page, read as text.

    api.read(Endpoint("planes.json", records="rows", pages=NextUrl(path="next_url")))
    api.read_children(Endpoint("planes/{tailnum}/flights"), parents)

Not here: where requests may go and what they carry (`access.py`, `http.py`), one endpoint (`rest_reading.py`), how an API is paged
(`paging.py`), kinds of credentials (`credentials.py`), how fast it is asked (`limits.py`), conversion to types (contracts do that).
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from string import Formatter
from typing import Any, Literal
from urllib.parse import quote

import dagster as dg
import pandas as pd
import requests
from pydantic import Field

from etl_assets.accounting import committed_watermarks, record_read, record_unreadable
from etl_assets.connectors.access import Access, Origin, access_of, origin, shown_url
from etl_assets.connectors.credentials import (
    ApiKey,
    BasicAuth,
    BearerToken,
    NoAuth,
    OAuth2ClientCredentials,
    OAuth2RefreshToken,
)
from etl_assets.connectors.http import TRANSIENT_STATUS, Client
from etl_assets.connectors.limits import Caps, Pace
from etl_assets.connectors.records import frame_of_text
from etl_assets.connectors.rest_incremental import IncrementalParameter
from etl_assets.connectors.rest_reading import Endpoint, EndpointReading, Post
from etl_assets.errors import ConfigurationError, SourceFormatError, SourceNotFoundError
from etl_assets.retry_settings import REST_RETRY, Retry
from etl_assets.secrets import SECRET
from etl_assets.watermarks import Value

logger = logging.getLogger(__name__)


class RestResource(dg.ConfigurableResource["RestResource"]):
    """One HTTP API."""

    base_url: str = Field(
        description="Where all paths start, such as https://api.example.com/v1/, with user:password@ before the host where the API asks "
        "for basic authentication; credentials are sent nowhere else.",
        json_schema_extra=SECRET,
    )
    auth: NoAuth | BasicAuth | BearerToken | ApiKey | OAuth2ClientCredentials | OAuth2RefreshToken = Field(
        default=NoAuth(), discriminator="kind", description="How requests prove who asks; see connectors/credentials.py."
    )
    headers: dict[str, str] = Field(default={}, description="Sent with every request to the origin of base_url.", json_schema_extra=SECRET)
    retry: Retry = Field(default=REST_RETRY, description="How a request is tried again.")
    transient_statuses: list[int] = Field(
        default=sorted(TRANSIENT_STATUS), description="Statuses that are tried again; 429 and what GitHub sends for it always are."
    )
    requests_per_second: float | None = Field(default=None, description="Most requests a second; None for no limit.", gt=0)
    timeout_seconds: float = Field(
        default=30.0, description="Longest silence of the server, for connecting and for each read; longest time for a token.", gt=0
    )
    page_seconds: float = Field(default=300.0, description="Longest time for one page, however slowly it drips.", gt=0)
    page_bytes: int = Field(default=256 * 2**20, description="Largest page, after decompression.", gt=0)
    read_seconds: float = Field(default=6 * 3600.0, description="Longest time for one read, waits included.", gt=0)
    read_bytes: int = Field(default=8 * 2**30, description="All pages of one read together, after decompression.", gt=0)
    link_origins: list[str] = Field(
        default=[], description="Other origins that links and redirects may lead to, such as https://files.example.com; no credentials "
        "are sent there."
    )  # fmt: skip
    private_links: bool = Field(default=False, description="Such links may lead to private, loopback and link-local addresses.")
    plain_http: bool = Field(default=False, description="Credentials may be sent over http to another machine, readable on their way.")
    tls_ca_file: str | None = Field(default=None, description="PEM file of the authorities to trust; None for the usual ones.")

    def sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Change a request at the very end, before it leaves for the configured origin; a subclass signs it here.

        Args:
            request: Method, url, headers and body are final; add headers.

        Returns:
            The request to send.
        """
        return request

    def read(self, endpoint: Endpoint | str, *, incremental: IncrementalParameter | None = None) -> pd.DataFrame:
        """All records of an endpoint as text.

        Args:
            endpoint: What is read; a text is its path.
            incremental: Only records from the watermark of the last committed load on.

        Returns:
            One row per record: one text column per key, numbers with the digits they were written with, nested values as JSON; and
            `source_position` ("planes.json page 2 record 17", counted from 1).

        Raises:
            SourceUnavailableError: No answer, or a transient status, after all attempts; or the server asks for a longer wait than
                the retry policy has (RateLimitedError for 429).
            OutcomeUnknownError: A POST that may not be repeated failed after it was sent.
            AuthenticationError: 401 or 403.
            SourceNotFoundError: 404 or 410.
            SourceFormatError: Other statuses, another format, a foreign link, a repeated page, too many pages, a page too large or too
                slow, or another total.
            ConfigurationError: A setting, an address or a JMESPath expression cannot be used.
        """
        frames = list(self.read_batches(endpoint, incremental=incremental))
        return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]

    def read_batches(self, endpoint: Endpoint | str, *, incremental: IncrementalParameter | None = None) -> Iterator[pd.DataFrame]:
        """The records of an endpoint, a frame per page; memory does not grow with the number of pages. Otherwise as `read`.

        A frame has the columns of its own page: keys that no record of it has are missing there.
        """
        endpoint = Endpoint(endpoint) if isinstance(endpoint, str) else endpoint
        placeholders = _placeholders(endpoint.path)
        if placeholders:
            raise ConfigurationError(
                endpoint.path, f"the path has placeholders: {placeholders}.", "read it with read_children, for the parents it belongs to."
            )
        endpoint = replace(endpoint, path=endpoint.path.format())  # {{ is a brace
        with self._client() as client:
            reading = EndpointReading(client, endpoint, incremental, _committed(incremental))
            count = 0
            empty = True
            for frame, broken in reading.frames():
                record_unreadable(broken)
                count += len(frame) + len(broken)
                empty = False
                yield frame
            if empty:
                yield frame_of_text([], [])
            record_read(reading.where, count)
            reading.keep_watermark()

    def read_children(
        self,
        endpoint: Endpoint,
        parents: pd.DataFrame,
        *,
        incremental: IncrementalParameter | None = None,
        missing: Literal["fail", "skip"] = "fail",
    ) -> pd.DataFrame:
        """The records of an endpoint that exists once per parent.

        Args:
            endpoint: Its path has placeholders such as "planes/{tailnum}/flights", named like columns of `parents`.
            parents: A row per parent; equal ones are asked for once.
            incremental: Only what is new, with a watermark per parent.
            missing: What a parent without the endpoint (404) means: an error, or no records.

        Returns:
            As `read`, with a column `parent_<placeholder>` per placeholder.

        Raises:
            ConfigurationError: The path has no placeholder, or `parents` has no such column.
            SourceFormatError: A parent's value is NULL or no segment of a path, or a record has a column `parent_<placeholder>`.
            Others: As `read`.
        """
        names = _placeholders(endpoint.path)
        lacking = [name for name in names if name not in parents]
        if not names or lacking:
            raise ConfigurationError(
                endpoint.path, f"its placeholders are {names}; columns of the parents: {list(parents.columns)}.",
                "name the placeholders like columns of the parents, as in planes/{tailnum}/flights.",
            )  # fmt: skip
        frames: list[pd.DataFrame] = []
        skipped = 0
        count = 0
        distinct = parents[names].drop_duplicates()
        committed = _committed(incremental)
        readings: list[EndpointReading] = []
        with self._client() as client:
            where = shown_url(client.follow(client.base, endpoint.path))
            for parent in distinct.itertuples(index=False):
                values = dict(zip(names, parent, strict=True))
                one = replace(endpoint, path=endpoint.path.format(**{name: _segment(name, value, where) for name, value in values.items()}))
                reading = EndpointReading(client, one, incremental, committed)
                readings.append(reading)
                try:
                    for frame, broken in reading.frames():
                        record_unreadable(broken)
                        count += len(frame) + len(broken)
                        frames.append(_with_parent(frame, values, where))
                except SourceNotFoundError:
                    if missing == "fail" or reading.pages:
                        raise
                    skipped += 1
        # Only now: the rows that a watermark stands for must not be lost to an error of a later parent.
        for reading in readings:
            reading.keep_watermark()
        if skipped:
            logger.warning("%s: %d of %d parents have no such endpoint", where, skipped, len(distinct))
        record_read(where, count, notes=f"{skipped} parents without it" if skipped else "")
        empty = frame_of_text([], [])
        return pd.concat(frames, ignore_index=True) if frames else empty

    def _client(self) -> Client:
        policy = self.retry.policy()
        caps = Caps(page_bytes=self.page_bytes, page_seconds=self.page_seconds, read_bytes=self.read_bytes, read_seconds=self.read_seconds)
        pace = Pace(self.requests_per_second, longest_wait=policy.deadline_seconds)
        return Client(self._access(), policy=policy, pace=pace, caps=caps)

    def _access(self) -> Access:
        verify = self.tls_ca_file or True
        base, auth, secrets = access_of(
            self.base_url, self.auth, self.headers, verify=verify, timeout_seconds=self.timeout_seconds, plain_http=self.plain_http
        )
        return Access(
            base=base,
            auth=auth,
            headers=self.headers,
            link_origins=frozenset(map(_declared_origin, self.link_origins)),
            private_links=self.private_links,
            verify=verify,
            timeout_seconds=self.timeout_seconds,
            transient_status=frozenset(self.transient_statuses),
            sign=self.sign,
            secrets=secrets,
        )


def _committed(incremental: IncrementalParameter | None) -> Mapping[str, Value]:
    return {} if incremental is None else committed_watermarks()


def _placeholders(path: str) -> list[str]:
    try:
        return list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(path) if name is not None))
    except ValueError as error:
        raise ConfigurationError(path, f"the path cannot be read ({error}).", "write placeholders as {name}, braces as {{.") from error


def _segment(name: str, value: Any, where: str) -> str:
    if pd.isna(value) or str(value) in ("", ".", ".."):
        raise SourceFormatError(where, f"the parent's {name} is {value!r}, which is no segment of a path.", "drop such parents before.")
    if isinstance(value, float):
        # Integers among NULLs become floats in pandas, and 17.0 is another path than 17.
        raise SourceFormatError(where, f"the parent's {name} is {value!r}, a float.", "give the column as text or as Int64.")
    return quote(str(value), safe="")


def _with_parent(frame: pd.DataFrame, values: Mapping[str, Any], where: str) -> pd.DataFrame:
    added = {f"parent_{name}": str(value) for name, value in values.items()}
    present = sorted(set(added) & set(frame.columns))
    if present:
        raise SourceFormatError(where, f"the records have columns {present} already.", "rename the columns of the parents.")
    named = {name: pd.Series([value] * len(frame), index=frame.index, dtype=frame.dtypes.iloc[-1]) for name, value in added.items()}
    return frame.assign(**named)


def _declared_origin(url: str) -> Origin:
    try:
        found = origin(url)
    except ValueError:
        found = ("", None, None)
    if found[0] not in ("http", "https") or not found[1]:
        raise ConfigurationError("link_origins", f"{url!r} is no origin.", "write it like https://files.example.com.")
    return found


__all__ = ["Endpoint", "IncrementalParameter", "Post", "RestResource"]
