"""How an API is paged: which request follows a page. Frozen values, no I/O.

    SinglePage    the body is everything
    NextUrl       the body names the next page's address
    LinkHeader    the header Link names it (RFC 8288)
    PageNumber    ?page=1, ?page=2, ...
    Offset        ?offset=0&limit=100, ?offset=100&limit=100, ...
    BodyCursor    the body holds a token for the next request
    HeaderCursor  a header holds it

Paths into a body are JMESPath expressions, such as `meta.next`. Not here: sending requests, and guarding against loops (`rest.py`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from etl_assets.connectors.records import select
from etl_assets.errors import ConfigurationError, SourceFormatError


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
        document: The parsed body; numbers are their own text.
        headers: Of the answer, names in any case.
        next_link: Address that the Link header names as next; None for none.
    """

    where: str
    number: int
    records: int
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
        _require(answer, self.path, self.optional)
        link = select(answer.document, self.path)
        return PageRequest(link=str(link)) if link else None


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
    """Pages are asked for by number; an empty page ends the reading, and so does one with fewer records than `size`.

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

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return self._request(self.start)

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """See `Paginator`."""
        if self.total_pages is not None and answer.number >= _whole(select(answer.document, self.total_pages), self.total_pages):
            return None
        if answer.records == 0 or (self.size is not None and answer.records < self.size):
            return None
        return self._request(self.start + answer.number)

    def _request(self, number: int) -> PageRequest:
        size = {} if self.size is None else {self.size_parameter: self.size}
        return PageRequest(parameters={self.parameter: number, **size})


@dataclass(frozen=True, kw_only=True)
class Offset:
    """Pages are asked for by the number of records before them; a page with fewer records than `limit` ends the reading.

    Attributes:
        limit: Records per page.
        parameter: Query parameter of the offset.
        limit_parameter: Query parameter of the limit.
    """

    limit: int = 100
    parameter: str = "offset"
    limit_parameter: str = "limit"

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return self._request(0)

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """See `Paginator`."""
        return self._request(answer.number * self.limit) if answer.records >= self.limit else None

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
        _require(answer, self.path, self.optional)
        token = select(answer.document, self.path)
        return PageRequest(parameters={self.parameter: str(token)}) if token not in (None, "", False) else None


@dataclass(frozen=True, kw_only=True)
class HeaderCursor:
    """A header of the answer holds a token for the next request; without it the reading ends.

    Attributes:
        header: Its name, in any case.
        parameter: Query parameter that carries it.
    """

    header: str
    parameter: str = "cursor"

    def first(self) -> PageRequest:
        """See `Paginator`."""
        return PageRequest()

    def following(self, answer: PageAnswer) -> PageRequest | None:
        """See `Paginator`."""
        token = next((value for name, value in answer.headers.items() if name.lower() == self.header.lower()), "")
        return PageRequest(parameters={self.parameter: token}) if token else None


def _require(answer: PageAnswer, path: str, optional: bool) -> None:
    """Refuse a first page that lacks the key: a misspelt path would look like a single page."""
    if optional or answer.number > 1 or not re.fullmatch(r"\w+(\.\w+)*", path):
        return
    found = answer.document
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            present = sorted(found) if isinstance(found, Mapping) else f"a {type(found).__name__}"
            raise SourceFormatError(
                answer.where, f"the first page has no key {name!r} for the path {path!r}; present: {present}.",
                "correct the path, or say optional=True when the API leaves it out on the last page.",
            )  # fmt: skip
        found = found[name]


def _whole(value: Any, path: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise ConfigurationError(f"path {path!r}", f"it should lead to a number of pages, it leads to {value!r}.", "correct it.") from None


__all__ = [
    "BodyCursor", "HeaderCursor", "LinkHeader", "NextUrl", "Offset", "PageAnswer", "PageNumber", "PageRequest", "Paginator", "SinglePage",
]  # fmt: skip
