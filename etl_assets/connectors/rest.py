"""An HTTP API, endpoint by endpoint and page by page, read as text.

    api.read(Endpoint("planes.json", records="rows", pages=NextUrl(path="next_url")))
    api.read_children(Endpoint("planes/{tailnum}/flights"), parents)

Not here: where requests may go and what they carry (`http.py`), how an API is paged (`paging.py`), kinds of credentials
(`credentials.py`), how fast it is asked (`limits.py`), conversion to types (contracts do that).
"""

import datetime
import gzip
import io
import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from string import Formatter
from typing import Any, Literal
from urllib.parse import quote

import dagster as dg
import pandas as pd
import requests
from pydantic import Field

from etl_assets.accounting import UnreadableRow, committed_watermarks, record_read, record_unreadable, record_watermark
from etl_assets.connectors.credentials import (
    SECRET,
    ApiKey,
    BasicAuth,
    BearerToken,
    NoAuth,
    OAuth2ClientCredentials,
    OAuth2RefreshToken,
)
from etl_assets.connectors.csv_text import CsvFormat, read_csv_text
from etl_assets.connectors.http import TRANSIENT_STATUS, Access, Answer, Client, Request, access_of, origin, shown_url
from etl_assets.connectors.limits import Caps, Pace
from etl_assets.connectors.paging import PageAnswer, PageRequest, Paginator, SinglePage
from etl_assets.connectors.records import flatten, frame_of_text, parse_json, parse_json_lines, select, select_records
from etl_assets.connectors.retrying import REST_RETRY, Retry
from etl_assets.errors import ConfigurationError, SourceFormatError, SourceNotFoundError
from etl_assets.watermarks import Value

logger = logging.getLogger(__name__)

_SINGLE_PAGE = SinglePage()
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class Post:
    """An endpoint that is asked by POST.

    Attributes:
        body: Sent as JSON with every page.
        safe: The request only asks, so it may be sent again when its answer is lost; else it is sent again only when it certainly was
            not received.
        parameters_in_body: What the paginator adds goes into the body, which is an object then, instead of the query.
    """

    body: Any = None
    safe: bool = False
    parameters_in_body: bool = False


@dataclass(frozen=True)
class Endpoint:
    """What is read of an API.

    Attributes:
        path: Relative to `base_url`; for children with placeholders, such as "planes/{tailnum}/flights".
        parameters: Query parameters, sent with every page that is asked for by parameters, and with the first one of a chain of links.
        records: JMESPath of the list of objects in the body; None when the body is the list.
        pages: How the API is paged; see connectors/paging.py.
        total: JMESPath of the number of records that the server says there are; compared with what came.
        max_pages: More pages than this are an error.
        format: "json", "jsonl" (an object per line) or a `CsvFormat`; a body that is a gzip file is unpacked.
        flatten: Nested objects become columns named by their path, joined by this text; None keeps them as JSON.
        post: Ask by POST; None for GET.
    """

    path: str
    _: KW_ONLY
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    records: str | None = None
    pages: Paginator = _SINGLE_PAGE
    total: str | None = None
    max_pages: int = 1000
    format: Literal["json", "jsonl"] | CsvFormat = "json"
    flatten: str | None = None
    post: Post | None = None


@dataclass(frozen=True, kw_only=True)
class IncrementalParameter:
    """Only records from the watermark of the last committed load on, as far as the API can select them.

    Most APIs send records that equal the parameter again, so merge them by key.

    Attributes:
        parameter: Query parameter that carries the lower bound, such as "updated_since".
        field: JMESPath, in a record, of the value that grows, such as "updated_at".
        kind: What the value is: "time" (ISO 8601), "number" or "text". The parameter is sent as the API wrote it.
        start: Lower bound before the first load; None leaves the parameter out.
        lag: Ask again for this much below the watermark: a timedelta for times, a number for numbers. None for nothing.
        nulls: Records without the value: "fail", or "skip" them when the watermark is found; they are read in any case.
    """

    parameter: str
    field: str
    kind: Literal["time", "number", "text"] = "time"
    start: str | int | None = None
    lag: datetime.timedelta | int | None = None
    nulls: Literal["fail", "skip"] = "fail"


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
    timeout_seconds: float = Field(default=30.0, description="Longest silence of the server, for connecting and for each read.")
    page_seconds: float = Field(default=300.0, description="Longest time for one page, however slowly it drips.")
    page_bytes: int = Field(default=256 * 2**20, description="Largest page, after decompression.")
    read_seconds: float = Field(default=6 * 3600.0, description="Longest time for one read, waits included.")
    read_bytes: int = Field(default=8 * 2**30, description="All pages of one read together, after decompression.")
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
        with self._client() as client:
            where = shown_url(client.follow(self._access().base, endpoint.path))
            reading = _Reading(client, self._access().base, endpoint, incremental, {})
            count = 0
            empty = True
            for frame, broken in reading.frames():
                record_unreadable(broken)
                count += len(frame) + len(broken)
                empty = False
                yield frame
            if empty:
                yield frame_of_text([], [])
            record_read(where, count)
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
        with self._client() as client:
            where = f"{self._access().base}{endpoint.path}"
            for parent in parents[names].drop_duplicates().itertuples(index=False):
                values = dict(zip(names, parent, strict=True))
                one = replace(endpoint, path=endpoint.path.format(**{name: _segment(name, value, where) for name, value in values.items()}))
                reading = _Reading(client, self._access().base, one, incremental, values)
                try:
                    for frame, broken in reading.frames():
                        record_unreadable(broken)
                        count += len(frame) + len(broken)
                        frames.append(_with_parent(frame, values, where))
                except SourceNotFoundError:
                    if missing == "fail" or reading.pages:
                        raise
                    skipped += 1
                reading.keep_watermark()
        if skipped:
            logger.warning("%s: %d of %d parents have no such endpoint", where, skipped, len(parents))
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
        base, auth = access_of(self.base_url, self.auth, verify, plain_http=self.plain_http)
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
        )


class _Reading:
    """One endpoint being read, page by page."""

    def __init__(
        self, client: Client, base: str, endpoint: Endpoint, incremental: IncrementalParameter | None, parent: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._first = client.follow(base, endpoint.path)
        self._where = shown_url(self._first)
        self._shown = shown_url(endpoint.path)
        self._incremental = incremental
        self._highest: tuple[Any, Value] | None = None
        self._name = f"{self._shown} by {incremental.field}" if incremental is not None else ""
        self._committed = committed_watermarks().get(self._name) if incremental is not None else None
        self._parent = parent
        self.pages = 0

    def frames(self) -> Iterator[tuple[pd.DataFrame, list[UnreadableRow]]]:
        """The frame of each page, and what could not be read on it."""
        endpoint = self._endpoint
        announced: int | None = None
        count = 0
        for number, (document, records, positions, broken) in enumerate(self._pages(), start=1):
            self.pages = number
            count += len(records) + len(broken)
            if self._incremental is not None:
                self._look_at(records, positions, self._incremental)
            if endpoint.flatten is not None:
                records = [flatten(record, endpoint.flatten, where=place) for record, place in zip(records, positions, strict=True)]
            if endpoint.total is not None and announced is None:
                announced = _count(document, endpoint.total, self._where)
            yield frame_of_text(records, positions), broken
        if announced is not None and announced != count:
            raise SourceFormatError(
                self._where, f"the server said {announced} records, {count} came.", "read again: it may have changed meanwhile."
            )

    def keep_watermark(self) -> None:
        """Report the highest value seen, or the committed one where nothing was above it."""
        found: Value | None = self._highest[1] if self._highest is not None else self._committed
        if self._incremental is not None and found is not None:
            record_watermark(self._name, found)

    def _pages(self) -> Iterator[tuple[Any, list[Mapping[str, Any]], list[str], list[UnreadableRow]]]:
        endpoint = self._endpoint
        parameters = {**endpoint.parameters, **self._bound()}
        asked: set[tuple[str, str]] = set()
        before: list[Mapping[str, Any]] = []
        page: PageRequest | None = endpoint.pages.first()
        url = self._first
        while page is not None:
            url = url if page.link is None else self._client.follow(url, page.link)
            # A link says everything itself; parameters of the first request are in it, or meant to be left out.
            request = self._request(url, parameters if page.link is None else {}, page.parameters)
            key = (url, repr((sorted(request.parameters.items()), request.body)))
            if key in asked:
                raise SourceFormatError(
                    self._where, "the next link leads back to a page already read.", "report it to the owner of the API."
                )
            if len(asked) == endpoint.max_pages:
                raise SourceFormatError(self._where, f"there are more than {endpoint.max_pages} pages.", "raise max_pages if so.")
            asked.add(key)
            number = len(asked)
            answer = self._client.fetch(request)
            url = answer.url
            document, records, positions, broken = self._decode(answer, number)
            # A server that ignores the parameter gives the same page for ever.
            if records and records == before and page.link is None:
                raise SourceFormatError(
                    self._where, f"pages {number - 1} and {number} hold the same records.", "choose the paginator that this API has."
                )
            before = records
            yield document, records, positions, broken
            page = endpoint.pages.following(
                PageAnswer(
                    where=self._where,
                    number=number,
                    records=len(records) + len(broken),
                    document=document,
                    headers=answer.headers,
                    next_link=answer.next_link,
                )
            )

    def _request(self, url: str, parameters: Mapping[str, str | int], of_page: Mapping[str, str | int]) -> Request:
        post = self._endpoint.post
        if post is None:
            return Request(url=url, parameters={**parameters, **of_page})
        if not post.parameters_in_body:
            return Request(url=url, method="POST", parameters={**parameters, **of_page}, body=post.body, safe=post.safe)
        if not isinstance(post.body, Mapping | None):
            raise ConfigurationError(self._where, "parameters_in_body needs a body that is an object.", "correct the body of the Post.")
        return Request(url=url, method="POST", parameters=parameters, body={**(post.body or {}), **of_page}, safe=post.safe)

    def _decode(self, answer: Answer, number: int) -> tuple[Any, list[Mapping[str, Any]], list[str], list[UnreadableRow]]:
        """Document, records, their positions, and what could not be read."""
        endpoint, shown = self._endpoint, shown_url(answer.url)
        body = self._unpacked(answer.body, shown)
        page = f"{self._shown} page {number}"
        if endpoint.format == "json":
            document = parse_json(body, where=shown)
            records = select_records(document, endpoint.records, where=f"{self._where} page {number}")
            return document, records, [f"{page} record {place}" for place in range(1, len(records) + 1)], []
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceFormatError(shown, f"the body is not UTF-8 ({error.reason}).", "report it to the owner of the API.") from error
        if isinstance(endpoint.format, CsvFormat):
            (batch,) = read_csv_text(io.StringIO(text, newline=""), endpoint.format, name=page)
            nulls = set(endpoint.format.null_markers)
            rows = [{name: None if cell in nulls else cell for name, cell in zip(batch.header, row, strict=True)} for row in batch.rows]
            return None, list(rows), [f"{page} line {line}" for line in batch.lines], batch.unreadable
        found, lines, broken = parse_json_lines(enumerate(text.splitlines(), start=1), where=page)
        return None, found, [f"{page} line {line}" for line in lines], broken

    def _unpacked(self, body: bytes, shown: str) -> bytes:
        if not body.startswith(_GZIP):
            return body
        most = self._client.caps.page_bytes
        try:
            with gzip.open(io.BytesIO(body)) as file:
                unpacked = file.read(most + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceFormatError(shown, f"the gzip file cannot be unpacked ({error}).", "report it to the owner of the API.") from error
        if len(unpacked) > most:
            raise SourceFormatError(shown, f"the page is larger than {most} bytes.", "ask for smaller pages, or raise page_bytes.")
        return unpacked

    # -- watermarks -------------------------------------------------------------------------------------------------

    def _bound(self) -> Mapping[str, str | int]:
        """The parameter that carries the lower bound; nothing before the first load without a start."""
        incremental = self._incremental
        if incremental is None:
            return {}
        if self._committed is None:
            return {} if incremental.start is None else {incremental.parameter: incremental.start}
        if incremental.lag is None:
            return {incremental.parameter: str(self._committed)}
        lowered = _comparable(str(self._committed), incremental.kind, self._name)
        try:
            lowered = lowered - incremental.lag
        except TypeError as error:
            raise ConfigurationError(
                self._name, f"a lag of {incremental.lag!r} cannot be taken off {self._committed!r}.",
                "give a timedelta for times, a number for numbers.",
            ) from error  # fmt: skip
        return {incremental.parameter: lowered.isoformat() if isinstance(lowered, datetime.datetime) else str(lowered)}

    def _look_at(self, records: list[Mapping[str, Any]], positions: list[str], incremental: IncrementalParameter) -> None:
        if self._highest is None and self._committed is not None:
            self._highest = (_comparable(str(self._committed), incremental.kind, self._name), str(self._committed))
        for record, place in zip(records, positions, strict=True):
            value = select(record, incremental.field)
            if value is None:
                if incremental.nulls == "fail":
                    raise SourceFormatError(
                        place, f"the record has no {incremental.field!r}, so no watermark reaches it.",
                        'correct the field of the incremental, or say nulls="skip".',
                    )  # fmt: skip
                continue
            found = _comparable(str(value), incremental.kind, place)
            try:
                if self._highest is None or found > self._highest[0]:
                    self._highest = (found, str(value))
            except TypeError as error:
                raise SourceFormatError(
                    place, f"{str(value)!r} cannot be compared with {self._highest!r}: one has a time zone.", "report it to the owner."
                ) from error


def _comparable(text: str, kind: str, where: str) -> Any:
    try:
        if kind == "time":
            return datetime.datetime.fromisoformat(text)
        if kind == "number":
            return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError as error:
        raise SourceFormatError(
            where, f"{text!r} is no {'time in ISO 8601' if kind == 'time' else 'number'}.", "correct the kind of the incremental."
        ) from error
    return text


def _placeholders(path: str) -> list[str]:
    try:
        return list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(path) if name is not None))
    except ValueError as error:
        raise ConfigurationError(path, f"the path cannot be read ({error}).", "write placeholders as {name}, braces as {{.") from error


def _segment(name: str, value: Any, where: str) -> str:
    if pd.isna(value) or str(value) in ("", ".", ".."):
        raise SourceFormatError(where, f"the parent's {name} is {value!r}, which is no segment of a path.", "drop such parents before.")
    return quote(str(value), safe="")


def _with_parent(frame: pd.DataFrame, values: Mapping[str, Any], where: str) -> pd.DataFrame:
    added = {f"parent_{name}": str(value) for name, value in values.items()}
    present = sorted(set(added) & set(frame.columns))
    if present:
        raise SourceFormatError(where, f"the records have columns {present} already.", "rename the columns of the parents.")
    named = {name: pd.Series([value] * len(frame), index=frame.index, dtype=frame.dtypes.iloc[-1]) for name, value in added.items()}
    return frame.assign(**named)


def _declared_origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        found = origin(url)
    except ValueError:
        found = ("", None, None)
    if found[0] not in ("http", "https") or not found[1]:
        raise ConfigurationError("link_origins", f"{url!r} is no origin.", "write it like https://files.example.com.")
    return found


def _count(document: Any, path: str, where: str) -> int:
    value = select(document, path)
    try:
        return int(str(value))
    except ValueError:
        raise SourceFormatError(
            where, f"{path!r} should lead to the number of records, it leads to {value!r}.", "correct `total`."
        ) from None


__all__ = ["Endpoint", "IncrementalParameter", "Post", "RestResource"]
