"""How an API is paged: which request follows a page. Frozen values, no I/O.

    SinglePage    the body is everything
    NextUrl       the body names the next page's address
    LinkHeader    the header Link names it (RFC 8288)
    PageNumber    ?page=1, ?page=2, ...
    Offset        ?offset=0&limit=100, ?offset=100&limit=100, ...
    BodyCursor    the body holds a token for the next request
    HeaderCursor  headers hold it

Paths into a body are JMESPath expressions, such as `meta.next`. Not here: sending requests, and guarding against loops (`rest_reading.py`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from etl_assets.connectors.limits import header
from etl_assets.connectors.records import select
from etl_assets.errors import ConfigurationError, SourceFormatError

_KEY = re.compile(r'\w+|"(?:[^"\\]|\\.)+"')
_KEYS = re.compile(rf"({_KEY.pattern})(\.({_KEY.pattern}))*")


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """A request for one page.

    Attributes:
        link: Address, absolute or relative to the page before; None for the same endpoint again.
        parameters: Query parameters to add.
    """

    link: str | None = None
    parameters: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PageAnswer:
    """What a paginator sees of a page.

    Attributes:
        where: Address of the endpoint without secrets, for errors.
        number: Of the page, counted from 1.
        records: Records on it.
        read: Records so far, its own included.
        announced: Records that the server says there are; None where it is not asked.
        document: The parsed body; numbers are their own text.
        headers: Of the answer, names in any case.
        next_link: Address that the Link header names as next; None for none.
    """

    where: str
    number: int
    records: int
    read: int
    announced: int | None
    document: Any
    headers: Mapping[str, str]
    next_link: str | None


class Paginator(Protocol):
    """Anything that says which request comes first and which follows."""

    def first(self) -> PageRequest:
        """The request for the first page."""

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """The request after this page; None when it was the last."""


@dataclass(frozen=True, kw_only=True)
class SinglePage:
    """The whole endpoint is one page."""

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return PageRequest()

    def following(self, answer: PageAnswer) -> None:
        """See `Paginator`."""
        return


@dataclass(frozen=True, kw_only=True)
class NextUrl:
    """The body names the address of the next page; null or "" ends the reading.

    Attributes:
        path: JMESPath of the address in the body.
        optional: The API leaves the key out on the last page; else a first page without it is an error, as a misspelt path would be.
    """

    path: str = "next"
    optional: bool = False

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return PageRequest()

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """See `Paginator`."""
        link = _word(answer, self.path, self.optional)
        return PageRequest(link=link) if link else None


@dataclass(frozen=True, kw_only=True)
class LinkHeader:
    """The header `Link: <address>; rel="next"` names the next page; without it the reading ends."""

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return PageRequest()

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """See `Paginator`."""
        return PageRequest(link=answer.next_link) if answer.next_link else None


@dataclass(frozen=True, kw_only=True)
class PageNumber:
    """Pages are asked for by number; an empty page ends the reading, and so does one with fewer records than `size` after full ones.

    A first page with fewer is followed by a second request, as many servers give fewer than they are asked for; where the API has no
    second page then, give `total_pages`, or `total` of the Endpoint.

    Attributes:
        parameter: Query parameter of the number.
        start: Number of the first page.
        size: Records per page, sent as `size_parameter`; None leaves it to the server.
        size_parameter: Query parameter of the size.
        total_pages: JMESPath of the number of pages in the body; None when the body does not say.
    """

    parameter: str = "page"
    start: int = 1
    size: int | None = None
    size_parameter: str = "per_page"
    total_pages: str | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ConfigurationError("PageNumber", f"size is at least 1; given: {self.size}.", "correct it.")

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return self._request(self.start)

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """See `Paginator`."""
        if self.total_pages is not None and answer.number >= _whole(select(answer.document, self.total_pages), self.total_pages):
            return None
        return None if _is_last(answer, self.size) else self._request(self.start + answer.number)

    def _request(self, number: int) -> PageRequest:
        size = {} if self.size is None else {self.size_parameter: self.size}
        return PageRequest(parameters={self.parameter: number, **size})


@dataclass(frozen=True, kw_only=True)
class Offset:
    """Pages are asked for by the number of records before them; they end as those of `PageNumber`.

    Attributes:
        limit: Records per page.
        parameter: Query parameter of the offset.
        limit_parameter: Query parameter of the limit.
    """

    limit: int = 100
    parameter: str = "offset"
    limit_parameter: str = "limit"

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigurationError("Offset", f"limit is at least 1; given: {self.limit}.", "correct it.")

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return self._request(0)

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """See `Paginator`."""
        return None if _is_last(answer, self.limit) else self._request(answer.read)

    def _request(self, offset: int) -> PageRequest:
        return PageRequest(parameters={self.parameter: offset, self.limit_parameter: self.limit})


@dataclass(frozen=True, kw_only=True)
class BodyCursor:
    """The body holds a token for the next request; null or "" ends the reading.

    Attributes:
        path: JMESPath of the token in the body.
        parameter: Query parameter that carries it.
        optional: The API leaves the key out on the last page; else a first page without it is an error, as a misspelt path would be.
    """

    path: str
    parameter: str = "cursor"
    optional: bool = False

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return PageRequest()

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """See `Paginator`."""
        token = _word(answer, self.path, self.optional)
        return PageRequest(parameters={self.parameter: token}) if token else None


@dataclass(frozen=True, kw_only=True)
class HeaderCursor:
    """Headers of the answer hold tokens for the next request; without any of them the reading ends.

    Attributes:
        headers: Query parameter that carries a token, by the name of its header, in any case: `{"X-Next": "after"}`.
    """

    headers: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.headers:
            raise ConfigurationError("HeaderCursor", "it names no header.", 'write it like headers={"X-Next": "after"}.')

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return PageRequest()

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """See `Paginator`."""
        tokens = {parameter: header(answer.headers, name) for name, parameter in self.headers.items()}
        given = {parameter: token for parameter, token in tokens.items() if token}
        return PageRequest(parameters=given) if given else None


def _word(answer: PageAnswer, path: str, optional: bool) -> str:
    """The text that the path leads to; "" at the end of the pages."""
    found = select(answer.document, path)
    if not optional and answer.number == 1 and (found is None or _KEYS.fullmatch(path)):
        _require(answer, path)
    if found is None or found is False or found == "":
        return ""
    if not isinstance(found, str | int) or found is True:
        raise SourceFormatError(
            answer.where, f"{path!r} should lead to the next page, it leads to a {type(found).__name__}.", "correct the path."
        )  # fmt: skip
    return str(found)


def _require(answer: PageAnswer, path: str) -> None:
    """Refuse a first page that lacks the key: a misspelt path would look like a single page."""
    advice = "correct the path, or say optional=True when the API leaves it out on the last page."
    if not _KEYS.fullmatch(path):
        raise SourceFormatError(answer.where, f"the path {path!r} leads to nothing on the first page.", advice)
    found = answer.document
    for name in (json.loads(key) if key.startswith('"') else key for key in _KEY.findall(path)):
        if not isinstance(found, Mapping) or name not in found:
            present = sorted(found) if isinstance(found, Mapping) else f"a {type(found).__name__}"
            raise SourceFormatError(
                answer.where, f"the first page has no key {name!r} for the path {path!r}; present: {present}.", advice
            )  # fmt: skip
        found = found[name]


def _is_last(answer: PageAnswer, size: int | None) -> bool:
    """Whether no page follows, where a server may give fewer records than it is asked for."""
    if answer.records == 0:
        return True
    if size is None or answer.records >= size:
        return False
    if answer.announced is not None:
        return answer.read >= answer.announced
    # A short page is the last one only after full ones: a server that gives 100 where 500 are asked for may have more.
    return answer.number > 1 and answer.read - answer.records == size * (answer.number - 1)


def _whole(value: Any, path: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise ConfigurationError(f"path {path!r}", f"it should lead to a number of pages, it leads to {value!r}.", "correct it.") from None


__all__ = [
    "BodyCursor", "HeaderCursor", "LinkHeader", "NextUrl", "Offset", "PageAnswer", "PageNumber", "PageRequest", "Paginator", "SinglePage",
]  # fmt: skip
