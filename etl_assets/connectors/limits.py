"""How fast an API is asked, and how much of it is read: rates that are declared, rates that its headers announce, caps.

Waiting is said in the log: "rate limited, waiting 40 s". Not here: sending requests (`http.py`).
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from etl_assets.errors import RateLimitedError, SourceFormatError

logger = logging.getLogger(__name__)

_REMAINING = ("X-RateLimit-Remaining", "RateLimit-Remaining", "X-Rate-Limit-Remaining")
_RESET = ("X-RateLimit-Reset", "RateLimit-Reset", "X-Rate-Limit-Reset")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
# A reset beyond this is the time of a clock, below it a number of seconds; some clocks count milliseconds.
_EPOCH = 10**9
_EPOCH_MILLISECONDS = 10**11


@dataclass(frozen=True, kw_only=True)
class Caps:
    """The most that one read takes; more is an error.

    Attributes:
        page_bytes: Of one page, after decompression.
        page_seconds: For one page, however slowly it drips.
        read_bytes: Of all pages of one read together, after decompression.
        read_seconds: For one read, waits included.
    """

    page_bytes: int
    page_seconds: float
    read_bytes: int
    read_seconds: float


class Meter:
    """What one read has taken so far, against its caps."""

    def __init__(self, caps: Caps, clock: Callable[[], float] = time.monotonic) -> None:
        self._caps = caps
        self._clock = clock
        self._started = clock()
        self._bytes = 0

    def add(self, size: int, where: str) -> None:
        """Count a page.

        Raises:
            SourceFormatError: The caps of the read are reached.
        """
        self._bytes += size
        self.check(where)

    def check(self, where: str) -> None:
        """See whether anything is left.

        Raises:
            SourceFormatError: The caps of the read are reached.
        """
        if self._bytes > self._caps.read_bytes:
            raise SourceFormatError(
                where, f"the pages are larger than {self._caps.read_bytes} bytes in all.", "read less at once, or raise read_bytes."
            )
        if self.seconds_left() < 0:
            raise SourceFormatError(
                where, f"the read took longer than {self._caps.read_seconds:g} s.", "read less at once, or raise read_seconds."
            )

    def seconds_left(self) -> float:
        """How long the read may still take."""
        return self._started + self._caps.read_seconds - self._clock()


class Pace:
    """Keeps requests apart: by a declared rate, and until the reset that the API announced with its last allowed request.

    Args:
        per_second: Requests a second at most; None for no limit.
        longest_wait: Seconds; a longer wait is an error, so that nobody waits without knowing.
        sleep: Replaces `time.sleep` in tests.
        clock: Replaces `time.monotonic` in tests.
        now: Replaces the time of day in tests.
    """

    def __init__(
        self,
        per_second: float | None,
        *,
        longest_wait: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._apart = 0.0 if per_second is None else 1 / per_second
        self._longest_wait = longest_wait
        self._sleep = sleep
        self._clock = clock
        self._now = now
        self._next = 0.0

    def wait(self, where: str) -> None:
        """Wait until the next request may be sent.

        Raises:
            RateLimitedError: That is longer than the longest wait.
        """
        seconds = self._next - self._clock()
        if seconds > self._longest_wait:
            raise RateLimitedError(
                where, f"the API allows no request for another {seconds:.0f} s.", "run it again later.", retry_after_seconds=seconds
            )
        if seconds > 0:
            level = logging.WARNING if seconds >= 1 else logging.DEBUG
            logger.log(level, "%s: rate limited, waiting %.0f s", where, seconds)
            self._sleep(seconds)
        self._next = max(self._next, self._clock()) + self._apart

    def heed(self, headers: Mapping[str, str]) -> None:
        """Take note of how many requests the API still allows, and from when on it allows more."""
        remaining, reset = header(headers, *_REMAINING), header(headers, *_RESET)
        try:
            if float(remaining) > 0:
                return
            seconds = float(reset)
        except ValueError:
            return
        if seconds > _EPOCH_MILLISECONDS:
            seconds /= 1000
        if seconds > _EPOCH:
            seconds -= self._now().timestamp()
        self._next = max(self._next, self._clock() + seconds)


def header(headers: Mapping[str, str], *names: str) -> str:
    """The first of these headers that is there, in any case; "" for none."""
    given = {name.lower(): value for name, value in headers.items()}
    return next((given[name.lower()] for name in names if name.lower() in given), "")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks for, as a number or a date; None when it asks for nothing that can be read."""
    value = header(headers, "Retry-After")
    try:
        number = _NUMBER.fullmatch(value.strip())
        seconds = float(value) if number else (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
    return seconds if seconds > 0 else None


def says_rate_limited(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer means "too fast": 429, or 403 with Retry-After or no request left, as GitHub sends."""
    return status == 429 or (status == 403 and (retry_after(headers) is not None or header(headers, *_REMAINING) == "0"))


__all__ = ["Caps", "Meter", "Pace", "header", "retry_after", "says_rate_limited"]
