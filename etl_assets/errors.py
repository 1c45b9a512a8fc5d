"""Every error this project raises on purpose, classed by what recovers it.

    EtlError
    ├── TransientError              the same call may succeed later: retried under the RetryPolicy in force
    │   ├── SourceUnavailableError      a source does not answer
    │   │   └── RateLimitedError            a source asks to be asked less often
    │   ├── NotificationError           a message to a person did not arrive
    │   └── DatabaseUnavailableError    PostgreSQL is unreachable, restarting, overloaded or chose us as a deadlock victim
    ├── PermanentError              a person must change something first: never retried
    │   ├── ConfigurationError          a setting is missing or wrong
    │   ├── AuthenticationError         credentials were refused
    │   ├── SourceNotFoundError         file, sheet, table or endpoint does not exist
    │   ├── OutcomeUnknownError         a request that may not be repeated failed after it was sent
    │   ├── SourceFormatError           the source answers, but not in the declared format
    │   ├── ContractDefinitionError     a contract or an asset is declared in a way that cannot work
    │   ├── DatabaseRefusedError        PostgreSQL refused a statement
    │   └── LocalServerError            a local server cannot be started
    └── DataError                   rows are wrong: the table keeps its former state, the rows are in etl.quarantine
        ├── ContractViolationError      too many rows broke the contract, or columns are missing
        ├── CleaningError               a cleaning step could not be carried out
        ├── RowsNotAccountedForError    rows vanished without a declared rule
        └── UnstorableValueError        a value does not fit its column exactly

Belongs here: error types and how they read. Not here: how an error of some library is recognised (each room does that at its
edge) nor what is done about it (`retry.py`, `assets.py`).
"""


class EtlError(Exception):
    """An error with the three things a reader needs.

    Args:
        where: What it concerns: an asset key, a file, a URL without credentials, a command.
        cause: What happened, with what was given and what is allowed.
        next_step: What the reader can do about it.
    """

    def __init__(self, where: str, cause: str, next_step: str) -> None:
        super().__init__(where, cause, next_step)
        self.where = where
        self.cause = cause
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.where}: {self.cause} Next: {self.next_step}"


class TransientError(EtlError):
    """The same call may succeed later.

    Attributes:
        retry_after_seconds: How long the other side asks to wait; None when it did not say.
    """

    def __init__(self, where: str, cause: str, next_step: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(where, cause, next_step)
        self.retry_after_seconds = retry_after_seconds


class SourceUnavailableError(TransientError):
    """A source does not answer, or asks to come back later."""


class RateLimitedError(SourceUnavailableError):
    """A source asks to be asked less often."""


class DatabaseUnavailableError(TransientError):
    """PostgreSQL is unreachable, restarting, overloaded, or ended the transaction to resolve a conflict."""


class NotificationError(TransientError):
    """A message to a person did not arrive."""


class PermanentError(EtlError):
    """The same call fails again until a person changes something."""


class ConfigurationError(PermanentError):
    """A setting is missing, unknown or contradicts another."""


class AuthenticationError(PermanentError):
    """Credentials were refused."""


class SourceNotFoundError(PermanentError):
    """The file, sheet, table or endpoint does not exist."""


class OutcomeUnknownError(PermanentError):
    """A request that may not be repeated failed after it was sent: it may have been carried out."""


class SourceFormatError(PermanentError):
    """The source exists but does not have the declared format."""


class ContractDefinitionError(PermanentError):
    """A contract or an asset is declared in a way that cannot work."""


class DatabaseRefusedError(PermanentError):
    """PostgreSQL refused a statement: privileges, missing database, dependent objects."""


class LocalServerError(PermanentError):
    """A local server cannot be started or stopped."""


class DataError(EtlError):
    """The rows are wrong; the stored table was left as it was."""


class ContractViolationError(DataError):
    """More rows broke the contract than it allows, or the columns are not the declared ones."""


class CleaningError(DataError):
    """A cleaning step could not be carried out; the message names the step."""


class RowsNotAccountedForError(DataError):
    """Rows read differ from rows kept, quarantined and dropped by a declared rule."""


class UnstorableValueError(DataError):
    """A value cannot be stored exactly in its column.

    Attributes:
        row: Label of the first such row in its frame; None when no single row is known.
        column: Its column; None when it is about several.
    """

    def __init__(self, where: str, cause: str, next_step: str, *, row: int | None = None, column: str | None = None) -> None:
        super().__init__(where, cause, next_step)
        self.row = row
        self.column = column


__all__ = [
    "AuthenticationError",
    "CleaningError",
    "ConfigurationError",
    "ContractDefinitionError",
    "ContractViolationError",
    "DataError",
    "DatabaseRefusedError",
    "DatabaseUnavailableError",
    "EtlError",
    "LocalServerError",
    "NotificationError",
    "OutcomeUnknownError",
    "PermanentError",
    "RateLimitedError",
    "RowsNotAccountedForError",
    "SourceFormatError",
    "SourceNotFoundError",
    "SourceUnavailableError",
    "TransientError",
    "UnstorableValueError",
]
