"""The account of one materialisation: what was read, what each step did to it, what a declared rule dropped.

Connectors and cleaning steps report here without knowing who listens; the asset decorator opens an account around each asset
function and compares the sums. Outside an asset nobody listens, and the calls cost nothing.

Not here: how the numbers are judged or shown (`assets.py`).
"""

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

SOURCE_POSITION: Final = "source_position"
"""Reserved column: where a row stood in its source, such as "weather.csv line 17". Contracts of text sources declare it in `raw`;
later layers carry it as far as the quarantine and drop it when their contract does not declare it."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """One read of a source.

    Attributes:
        source: What was read, without credentials.
        rows: Data rows found, those included that a declared rule dropped at once.
    """

    source: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """One changed cell, as a sample.

    Attributes:
        column: Its column.
        before: The value before the step.
        after: The value after it.
    """

    column: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one cleaning step did.

    Attributes:
        step: Name of the step and of the columns it worked on.
        rows_in: Rows before.
        rows_out: Rows after; fewer means that the step dropped rows, by the rule it is named for.
        cells_changed: Cells whose value differs after the step.
        seconds: Wall time.
        samples: A few of the changes.
    """

    step: str
    rows_in: int
    rows_out: int
    cells_changed: int
    seconds: float
    samples: tuple[Change, ...] = ()


@dataclass
class Account:
    """Everything reported while one asset function ran."""

    reads: list[Read] = field(default_factory=list)
    steps: list[StepReport] = field(default_factory=list)

    @property
    def rows_read(self) -> int:
        """Rows that connectors read."""
        return sum(read.rows for read in self.reads)

    @property
    def rows_dropped(self) -> int:
        """Rows that steps dropped by a declared rule."""
        return sum(step.rows_in - step.rows_out for step in self.steps)


_current: contextvars.ContextVar[Account | None] = contextvars.ContextVar("account", default=None)


@contextlib.contextmanager
def open_account() -> Iterator[Account]:
    """Collect every report made inside the block."""
    account = Account()
    token = _current.set(account)
    try:
        yield account
    finally:
        _current.reset(token)


def record_read(source: str, rows: int) -> None:
    """Report a read; connectors call it once per read."""
    account = _current.get()
    if account is not None:
        account.reads.append(Read(source=source, rows=rows))


def record_step(report: StepReport) -> None:
    """Report a cleaning step."""
    account = _current.get()
    if account is not None:
        account.steps.append(report)


__all__ = ["SOURCE_POSITION", "Account", "Change", "Read", "StepReport", "open_account", "record_read", "record_step"]
