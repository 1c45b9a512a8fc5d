"""How far long work is: rows, rows a second, the share that is done, told every few seconds to whoever listens, else to the log.

Work that ends within five seconds says nothing. Not here: who listens (`terminal.py`, `materialisation.py`).
"""

import contextlib
import contextvars
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

logger = logging.getLogger(__name__)

Part = TypeVar("Part")
EVERY_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """How far some work is.

    Attributes:
        doing: What it is, such as "loading clean/orders".
        rows: How many are done.
        seconds: Since it began.
        share: How much of it is done, 0 to 1; None when nobody knows how much it is.
    """

    doing: str
    rows: int
    seconds: float
    share: float | None = None

    def __str__(self) -> str:
        share = "" if self.share is None else f", {min(self.share, 1.0):.0%}"
        return f"{self.doing}: {self.rows:,} rows, {self.rows / max(self.seconds, 1e-9):,.0f} rows/s{share}"


Listener: TypeAlias = Callable[[Report], None]
_listeners: contextvars.ContextVar[tuple[Listener, ...]] = contextvars.ContextVar("progress", default=())


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """A block whose work is told to one more listener."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


class Progress:
    """Counts rows of some work, and tells of it.

    Args:
        doing: What it is.
        total: Rows in all; None when unknown.
    """

    def __init__(self, doing: str, total: int | None = None) -> None:
        self._doing = doing
        self._total = total
        self._rows = 0
        self._started = time.monotonic()
        self._next = self._started + EVERY_SECONDS

    def add(self, rows: int, share: float | None = None) -> None:
        """So many more rows are done.

        Args:
            rows: How many.
            share: Of the whole, where it is not a number of rows that says so.
        """
        self._rows += rows
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        if share is None and self._total:
            share = self._rows / self._total
        report = Report(doing=self._doing, rows=self._rows, seconds=now - self._started, share=share)
        for listener in _listeners.get() or (_log,):
            listener(report)


def watched(
    parts: Iterable[Part], doing: str, rows: Callable[[Part], int], share: Callable[[], float | None] = lambda: None
) -> Iterator[Part]:
    """The parts of some work as they come, told of.

    Args:
        parts: What comes.
        doing: What the work is.
        rows: Of a part.
        share: How much is done by now.
    """
    progress = Progress(doing)
    for part in parts:
        progress.add(rows(part), share())
        yield part


def _log(report: Report) -> None:
    logger.info("%s", report)


__all__ = ["EVERY_SECONDS", "Listener", "Progress", "Report", "listening", "watched"]
