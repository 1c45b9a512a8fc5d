"""The account of one materialisation: what was read, what each step did to it, what a declared rule dropped, what could not be read.

Connectors and cleaning steps report here without knowing who listens; the asset decorator opens an account around each asset
function and compares the sums. Outside an asset nobody listens, and the calls cost nothing; a connector then raises what it would
have handed over as unreadable, so that no row is lost.

In plain Python `with open_account() as account:` listens in the same way.

Not here: how the numbers are judged (`gate.py`) or shown (`metadata.py`).
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets.watermarks import Value, Watermark

SOURCE_POSITION: Final = "source_position"
"""Reserved column: where a row stood in its source, such as "weather.csv line 17". Contracts of text sources declare it in `raw`;
later layers carry it as far as the quarantine and drop it when their contract does not declare it."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """One read of a source.

    Attributes:
        source: What was read, without credentials.
        rows: Data rows found, those included that a declared rule dropped at once and those that cannot be read.
        notes: What was found out about the source rather than declared, such as a guessed encoding.
    """

    source: str
    rows: int
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class UnreadableRow:
    """A row of a source that has no columns to speak of: it goes to the quarantine as it stands.

    Attributes:
        position: Where it stands, such as "weather.csv line 17".
        raw: Its text.
        rule: What it breaks, in snake_case: "fields", "quotes", "nul_byte".
        says: The same in words.
    """

    position: str
    raw: str
    rule: str
    says: str


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
        notes: What else is worth knowing, such as values that a map does not name.
    """

    step: str
    rows_in: int
    rows_out: int
    cells_changed: int
    seconds: float
    samples: tuple[Change, ...] = ()
    notes: str = ""


def _nothing_committed() -> Mapping[str, Value]:
    return {}


@dataclass
class Account:
    """Everything reported while one asset function ran.

    Attributes:
        committed: Reads the watermarks committed for this asset; called when one is asked for.
        reads: Sources read.
        steps: Cleaning steps.
        unreadable: Rows that could not be read.
        reached: Watermarks that shall commit with the rows.
        started_from: The committed watermarks, once a connector asked.
        only_new: A connector left out what earlier loads brought, so the rows are to be added, not to replace.
    """

    committed: Callable[[], Mapping[str, Value]] = _nothing_committed
    reads: list[Read] = field(default_factory=list)
    steps: list[StepReport] = field(default_factory=list)
    unreadable: list[UnreadableRow] = field(default_factory=list)
    reached: dict[str, Value] = field(default_factory=dict)
    started_from: Mapping[str, Value] | None = None
    only_new: bool = False

    @property
    def rows_read(self) -> int:
        """Rows that connectors read."""
        return sum(read.rows for read in self.reads)

    @property
    def rows_dropped(self) -> int:
        """Rows that steps dropped by a declared rule."""
        return sum(step.rows_in - step.rows_out for step in self.steps)

    @property
    def watermarks(self) -> tuple[Watermark, ...]:
        """The watermarks reached."""
        before = self.started_from or {}
        return tuple(Watermark(source=source, value=value, started_from=before.get(source)) for source, value in self.reached.items())


_current: contextvars.ContextVar[Account | None] = contextvars.ContextVar("account", default=None)


@contextlib.contextmanager
def open_account(committed: Callable[[], Mapping[str, Value]] | None = None) -> Iterator[Account]:
    """Collect every report made inside the block.

    Args:
        committed: Reads the watermarks committed so far, such as `lambda: postgres.watermarks("raw/orders")`; None for none.
    """
    account = Account(committed=committed or _nothing_committed)
    with listening(account):
        yield account


@contextlib.contextmanager
def listening(account: Account) -> Iterator[None]:
    """Let an account that was opened before collect what is reported inside the block, as around each step of a generator."""
    token = _current.set(account)
    try:
        yield
    finally:
        _current.reset(token)


def record_read(source: str, rows: int, notes: str = "") -> None:
    """Report a read; connectors call it once per read."""
    account = _current.get()
    if account is not None:
        account.reads.append(Read(source=source, rows=rows, notes=notes))


def record_step(report: StepReport) -> None:
    """Report a cleaning step."""
    account = _current.get()
    if account is not None:
        account.steps.append(report)


def record_unreadable(rows: Sequence[UnreadableRow]) -> None:
    """Hand over rows that cannot be read, for the quarantine; they count as read.

    Raises:
        SourceFormatError: Nobody listens; the message tells of the first one.
    """
    account = _current.get()
    if account is not None:
        account.unreadable.extend(rows)
    elif rows:
        first = rows[0]
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        raise SourceFormatError(
            first.position, f"{first.says}: {first.raw[:120]!r}{more}.",
            "correct it at the source, or read inside an asset or `with open_account() as account:`, which keeps such rows.",
        )  # fmt: skip


def committed_watermarks() -> Mapping[str, Value]:
    """The watermarks committed with earlier loads, by source; none before the first, and where nobody listens.

    Asking means that only what is new is read.
    """
    account = _current.get()
    if account is None:
        return {}
    account.only_new = True
    if account.started_from is None:
        account.started_from = account.committed()
    return account.started_from


def record_watermark(source: str, value: Value) -> None:
    """Report how far a source was read; it commits with the rows.

    Raises:
        ConfigurationError: Another read of this asset has the same name.
    """
    account = _current.get()
    if account is None:
        return
    if source in account.reached:
        raise ConfigurationError(source, "two reads of one asset share this watermark.", "give one of them another name.")
    account.reached[source] = value


__all__ = [
    "SOURCE_POSITION", "Account", "Change", "Read", "StepReport", "UnreadableRow", "committed_watermarks", "listening", "open_account",
    "record_read", "record_step", "record_unreadable", "record_watermark",
]  # fmt: skip
