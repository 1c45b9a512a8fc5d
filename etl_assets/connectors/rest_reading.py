"""One endpoint of an API: what it is, and reading it page by page.

Not here: the resource (`rest.py`), sending requests (`http.py`), how an API is paged (`paging.py`).
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from etl_assets.accounting import UnreadableRow, record_watermark
from etl_assets.connectors.access import shown_url
from etl_assets.connectors.csv_text import CsvFormat, read_csv_text
from etl_assets.connectors.http import Answer, Client, Request
from etl_assets.connectors.limits import header
from etl_assets.connectors.paging import PageAnswer, PageRequest, Paginator, SinglePage
from etl_assets.connectors.records import flattened, frame_of_text, parse_json, parse_json_lines, select, select_records
from etl_assets.connectors.rest_incremental import Highest, IncrementalParameter
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets.watermarks import Value

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

    def __post_init__(self) -> None:
        try:
            json.dumps(self.body, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigurationError("Post", f"the body is no JSON ({error}).", "write dates and decimals as text or number.") from error
        if self.parameters_in_body and not isinstance(self.body, Mapping | None):
            raise ConfigurationError("Post", "parameters_in_body needs a body that is an object.", "correct the body of the Post.")


@dataclass(frozen=True)
class Endpoint:
    """What is read of an API.

    Attributes:
        path: Relative to `base_url`; for children with placeholders, such as "planes/{tailnum}/flights".
        parameters: Query parameters, sent with every page that is asked for by parameters, and with the first one of a chain of links.
        records: JMESPath of the list of objects in the body; None when the body is the list.
        pages: How the API is paged; see connectors/paging.py.
        total: JMESPath of the number of records that the server says there are; compared with what came.
        total_header: Header of that number, such as "X-Total-Count", where the body does not have it.
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
    total_header: str | None = None
    max_pages: int = 1000
    format: Literal["json", "jsonl"] | CsvFormat = "json"
    flatten: str | None = None
    post: Post | None = None

    def __post_init__(self) -> None:
        if self.format not in ("json", "jsonl") and not isinstance(self.format, CsvFormat):
            raise ConfigurationError(
                "Endpoint", f"format is 'json', 'jsonl' or a CsvFormat; given: {self.format!r}.", "correct it."
            )  # fmt: skip


class EndpointReading:
    """One endpoint being read, page by page."""

    def __init__(
        self, client: Client, endpoint: Endpoint, incremental: IncrementalParameter | None, committed: Mapping[str, Value]
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._first = client.follow(client.base, endpoint.path)
        self.where = self._where = shown_url(self._first)
        self._shown = shown_url(endpoint.path)
        self._parameters = endpoint.parameters
        self._watermark = ""
        self._highest: Highest | None = None
        self._announced: int | None = None
        self._count = 0
        self.pages = 0
        if incremental is not None:
            self._watermark = incremental.watermark(self._shown)
            before = committed.get(self._watermark)
            self._parameters = {**endpoint.parameters, **incremental.bound(before, self._watermark)}
            self._highest = Highest(incremental, before, self._watermark)

    def frames(self) -> Iterator[tuple[pd.DataFrame, list[UnreadableRow]]]:
        """The frame of each page, and what could not be read on it."""
        endpoint = self._endpoint
        for number, (records, positions, broken) in enumerate(self._pages(), start=1):
            self.pages = number
            self._count += len(records) + len(broken)
            if self._highest is not None:
                self._highest.look_at(records, positions)
            yield frame_of_text(flattened(records, endpoint.flatten, positions), positions), broken
        if self._announced is not None and self._announced != self._count:
            raise SourceFormatError(
                self._where, f"the server said {self._announced} records, {self._count} came.",
                "read again: it may have changed meanwhile.",
            )  # fmt: skip

    def _take_note_of_total(self, document: Any, answer: Answer) -> None:
        """How many records the server says there are, where the endpoint tells where to look."""
        endpoint = self._endpoint
        if self._announced is not None:
            return
        if endpoint.total is not None:
            self._announced = _whole(select(document, endpoint.total), f"{endpoint.total!r}", "total", self._where)
        elif endpoint.total_header is not None:
            value = header(answer.headers, endpoint.total_header)
            self._announced = _whole(value, f"the header {endpoint.total_header}", "total_header", self._where)

    def keep_watermark(self) -> None:
        """Report the highest value seen, or the committed one where nothing was above it."""
        if self._highest is not None and self._highest.text is not None:
            record_watermark(self._watermark, self._highest.text)

    def _pages(self) -> Iterator[tuple[list[Mapping[str, Any]], list[str], list[UnreadableRow]]]:
        endpoint = self._endpoint
        asked: set[tuple[str, str]] = set()
        before: list[Mapping[str, Any]] = []
        page: PageRequest | None = endpoint.pages.first()
        url = self._first
        while page is not None:
            # A page that is asked for by parameters is one of the endpoint, wherever the page before was found.
            url = self._first if page.link is None else self._client.follow(url, page.link)
            # A link says everything itself; parameters of the first request are in it, or meant to be left out.
            request = self._request(url, self._parameters if page.link is None else {}, page.parameters)
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
            with self._client.hiding():
                document, records, positions, broken = self._decode(answer, number)
            self._take_note_of_total(document, answer)
            # A server that ignores the parameter gives the same page for ever.
            if records and records == before and page.link is None:
                raise SourceFormatError(
                    self._where, f"pages {number - 1} and {number} hold the same records.", "choose the paginator that this API has."
                )
            before = records
            yield records, positions, broken
            page = endpoint.pages.following(
                PageAnswer(
                    where=self._where,
                    number=number,
                    records=len(records) + len(broken),
                    read=self._count,
                    announced=self._announced,
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
        return Request(url=url, method="POST", parameters=parameters, body={**(post.body or {}), **of_page}, safe=post.safe)

    def _decode(self, answer: Answer, number: int) -> tuple[Any, list[Mapping[str, Any]], list[str], list[UnreadableRow]]:
        """Document, records, their positions, and what could not be read."""
        endpoint, shown = self._endpoint, shown_url(answer.url)
        body = self._unpacked(answer.body, shown)
        page = f"{self._shown} page {number}"
        if endpoint.format == "json":
            document = self._parsed(body, shown)
            records = select_records(document, endpoint.records, where=f"{self._where} page {number}")
            return document, records, [f"{page} record {place}" for place in range(1, len(records) + 1)], []
        if not answer.told_end and not answer.body.startswith(_GZIP):
            raise SourceFormatError(
                shown, "the answer does not say where its body ends, so one that is cut would look whole.",
                "have the server send Content-Length or chunks.",
            )  # fmt: skip
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceFormatError(shown, f"the body is not UTF-8 ({error.reason}).", "report it to the owner of the API.") from error
        if isinstance(endpoint.format, CsvFormat):
            (batch,) = read_csv_text(io.StringIO(text, newline=""), endpoint.format, name=page)
            nulls = set(endpoint.format.null_markers)
            found: list[Mapping[str, Any]] = [
                {name: None if cell in nulls else cell for name, cell in zip(batch.header, row, strict=True)} for row in batch.rows
            ]
            lines, broken = batch.lines, batch.unreadable
        else:
            # Not splitlines: a text may hold other line separators of Unicode.
            parsed = parse_json_lines(enumerate(text.split("\n"), start=1), where=page)
            found, lines, broken = parsed.records, parsed.numbers, parsed.unreadable
        # An API that answers with its complaint may repeat a secret in it.
        hidden = [replace(row, raw=self._client.hidden(row.raw), says=self._client.hidden(row.says)) for row in broken]
        return None, found, [f"{page} line {line}" for line in lines], hidden

    def _parsed(self, body: bytes, shown: str) -> Any:
        try:
            return parse_json(body, where=shown)
        except SourceFormatError as error:
            failure = error
        # The message holds the start of the body, in which an API may repeat a secret.
        parse_json(self._client.hidden(body.decode("utf-8", "replace")), where=shown)
        raise failure

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
        self._client.count(len(unpacked) - len(body), shown)
        return unpacked


def _whole(value: Any, place: str, setting: str, where: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise SourceFormatError(
            where, f"{place} should lead to the number of records, it leads to {value!r}.", f"correct `{setting}`."
        ) from None


__all__ = ["Endpoint", "EndpointReading", "Post"]
