"""One HTTP API, request by request: where requests may go, what they carry, when they are sent again, how much is taken.

Credentials go to the configured origin only. Redirects and links are followed by our own hand: inside that
origin, or to an origin that was declared, without credentials, never from https to http, and to public addresses unless allowed;
anywhere else nothing is sent. One retry policy, one request as its unit.

Not here: what an origin is, and what is attached there (`access.py`); which request follows which (`paging.py`, `rest_reading.py`);
what the body means (`records.py`).
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests

from etl_assets.connectors.access import Access, Origin, origin, shown_url
from etl_assets.connectors.connections import (
    NotSentError,
    deadline,
    explain,
    foreign_session,
    is_over,
    own_session,
    read_body,
    read_start,
)
from etl_assets.connectors.credentials import NoAuth, TokenAuth, authentication
from etl_assets.connectors.limits import Caps, Meter, Pace, header, retry_after, says_rate_limited
from etl_assets.errors import (
    AuthenticationError,
    EtlError,
    OutcomeUnknownError,
    RateLimitedError,
    SourceFormatError,
    SourceNotFoundError,
    SourceUnavailableError,
    TransientError,
)
from etl_assets.retry import RetryPolicy

Result = TypeVar("Result")

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_PARTIAL_CONTENT = 206
_MOST_REDIRECTS = 5
# What an error says is not waited for longer than this.
_ERROR_SECONDS = 2
# Characters of each part of an error.
_MOST_WORDS = 1000
_ACCEPT = {"Accept-Encoding": "gzip"}


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
        body: Decompressed; empty for an answer that is no page.
        told_end: The answer said where its body ends, so that a cut one is noticed.
        said: First words of an answer that is no page.
    """

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    next_link: str | None
    body: bytes = field(repr=False)
    told_end: bool
    said: str = field(repr=False)


class Client:
    """Sends requests to one API; a context manager that closes its connections."""

    def __init__(self, access: Access, *, policy: RetryPolicy, pace: Pace, caps: Caps) -> None:
        self._access = access
        self.base = access.base
        self._policy = policy
        self._pace = pace
        self.caps = caps
        self._meter = Meter(caps)
        self._answered: set[Origin] = set()
        self._own = own_session()
        self._foreign = foreign_session(access.private_links)

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
        except ValueError:
            found = None
        if found is None:
            raise SourceFormatError(where, "a link is no address.", "correct the path, or report it to the owner of the API.")
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
            with self.hiding():
                try:
                    return self._once(request)
                except NotSentError:
                    raise
                except TransientError as error:
                    if request.safe or isinstance(error, RateLimitedError):
                        raise
                    raise OutcomeUnknownError(
                        shown, f"{error.cause} The request was sent, and may have been carried out.",
                        "look at the source before sending it again; say safe=True where sending twice does no harm.",
                    ) from error  # fmt: skip

        answer = self._policy.call(attempt, doing=f"{request.method} {shown}")
        self.count(len(answer.body), shown)
        return answer

    def count(self, size: int, shown: str) -> None:
        """Count bytes that were taken.

        Raises:
            SourceFormatError: The caps of the read are reached.
        """
        self._meter.add(size, shown)

    def hidden(self, text: str) -> str:
        """What an API said, without the secrets that it may repeat."""
        return self._access.secrets.hidden(text, self._access.auth.tokens if isinstance(self._access.auth, TokenAuth) else ())

    @contextlib.contextmanager
    def hiding(self) -> Iterator[None]:
        """Errors that leave the block hold no secret."""
        try:
            yield
        except EtlError as error:
            for one in (error, error.__cause__):
                if isinstance(one, EtlError):
                    # Hidden first, cut then: a part of a secret would not be found.
                    one.args = tuple(self.hidden(str(part))[:_MOST_WORDS] for part in one.args)
                    one.where, one.cause, one.next_step = one.args
            raise

    def _once(self, request: Request) -> Answer:
        """One attempt: redirects followed, a refused token renewed once."""
        renewed = False
        visited = {request.url}
        while True:
            shown = shown_url(request.url)
            own = origin(request.url) == origin(self._access.base)
            self._pace.wait(shown)
            self._meter.check(shown)
            answer = self._send(request, shown, own)
            self._pace.heed(answer.headers)
            if answer.status == 401 and own and isinstance(self._access.auth, TokenAuth) and not renewed:
                self._access.auth.forget()
                renewed = True
            elif 300 <= answer.status < 400 and header(answer.headers, "Location"):
                request = self._redirected(request, answer)
                if request.url in visited or len(visited) > _MOST_REDIRECTS:
                    raise SourceFormatError(shown, "redirects lead in a circle.", "report it to the owner of the API.")
                visited.add(request.url)
            elif _is_page(answer.status):
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
        return replace(request, url=url, parameters={})

    def _send(self, request: Request, shown: str, own: bool) -> Answer:
        with deadline(min(self.caps.page_seconds, self._meter.seconds_left())):
            prepared = self._explained(lambda: self._prepare(request, own), request.url, shown)
            if own and self._access.sign is not None:
                prepared = self._access.sign(prepared)
            return self._explained(lambda: self._exchange(prepared, request.url, shown, own), request.url, shown)

    def _explained(self, work: Callable[[], Result], url: str, shown: str) -> Result:
        """What the work returns; what the libraries raise in it becomes an error of ours."""
        try:
            return work()
        except EtlError:
            raise
        except Exception as error:
            explained = explain(error, shown, answered=origin(url) in self._answered)
            if explained is None:
                raise
        if isinstance(explained, TransientError) and is_over():
            self._meter.check(shown)
            explained = SourceFormatError(
                shown, f"the page took longer than {self.caps.page_seconds:g} s.", "ask for smaller pages, or raise page_seconds."
            )
        # Outside of `except`: what the libraries say holds queries and headers, and with them keys.
        raise explained

    def _prepare(self, request: Request, own: bool) -> requests.PreparedRequest:
        session = self._own if own else self._foreign
        return session.prepare_request(
            requests.Request(
                request.method,
                request.url,
                params=request.parameters,
                json=request.body,
                headers={**_ACCEPT, **(self._access.headers if own else {})},
                auth=self._access.auth if own else authentication(NoAuth()),
            )
        )

    def _exchange(self, prepared: requests.PreparedRequest, url: str, shown: str, own: bool) -> Answer:
        session = self._own if own else self._foreign
        environment: Any = session.merge_environment_settings(str(prepared.url), {}, True, self._access.verify, None)
        # The connection of a broken answer is not used again, and nothing follows a redirect but `follow`.
        with session.send(prepared, timeout=self._access.timeout_seconds, allow_redirects=False, **environment) as response:
            self._answered.add(origin(url))
            body, told_end, said = b"", True, ""
            if _is_page(response.status_code):
                body, told_end = read_body(response, shown, most_bytes=self.caps.page_bytes)
            else:
                with deadline(_ERROR_SECONDS):
                    said = self.hidden(read_start(response))[:200]
            return Answer(
                url=url,
                status=response.status_code,
                reason=response.reason,
                headers=dict(response.headers),
                next_link=_next_link(response),
                body=body,
                told_end=told_end,
                said=said,
            )

    def _explain_status(self, answer: Answer, shown: str) -> EtlError:
        status = answer.status
        said = f"the API answered {status} {answer.reason}"
        asked = retry_after(answer.headers)
        wish = f" and asks to wait {asked:.0f} s" if asked else ""
        if says_rate_limited(status, answer.headers):
            return RateLimitedError(shown, f"{said}{wish}.", "it is tried again; if it stays, ask less often.", retry_after_seconds=asked)
        if status in self._access.transient_status:
            return SourceUnavailableError(
                shown, f"{said}{wish}.", "it is tried again; if it stays, ask the owner of the API.", retry_after_seconds=asked
            )
        if status in (401, 403):
            return AuthenticationError(shown, f"{said}.", "check the credentials.")
        if status in (404, 410):
            return SourceNotFoundError(shown, f"{said}.", "correct the path or base_url.")
        if 300 <= status < 400:
            return SourceFormatError(shown, f"{said} without an address.", "report it to the owner of the API.")
        return SourceFormatError(shown, f"{said}: {answer.said!r}.", "correct path and parameters.")


def _is_page(status: int) -> bool:
    """Whether the body is what was asked for; a part of it was not."""
    return 200 <= status < 300 and status != _PARTIAL_CONTENT


def _next_link(response: requests.Response) -> str | None:
    for link in response.links.values():
        rel = next((words for name, words in link.items() if name.lower() == "rel"), "")
        if "next" in rel.lower().split():
            return link.get("url")
    return None


def _target(location: str) -> str:
    try:
        return shown_url(location).partition("//")[2] or shown_url(location)
    except ValueError:
        return "what is no address"


__all__ = ["TRANSIENT_STATUS", "Answer", "Client", "Request"]
