"""The retry policy as Dagster config, with a preset per kind of place that is read or written.

Not here: how a call is tried again (`retry.py`), which errors are transient (each room).
"""

import dagster as dg
from pydantic import Field

from etl_assets.errors import ConfigurationError
from etl_assets.retry import RetryPolicy


class Retry(dg.Config):
    """How often, how long and how patiently a connector tries again; see `RetryPolicy`."""

    attempts: int = Field(default=4, description="Calls in all, the first one included.")
    deadline_seconds: float = Field(default=120.0, description="No new call starts later than this after the first one began.")
    initial_seconds: float = Field(default=0.5, description="Upper end of the first wait.")
    multiplier: float = Field(default=2.0, description="Factor by which the upper end grows.")
    maximum_seconds: float = Field(default=30.0, description="The upper end never grows beyond this.")
    jitter: bool = Field(default=True, description="Draw each wait between zero and its upper end.")

    def policy(self) -> RetryPolicy:
        """The policy that these settings describe.

        Raises:
            ConfigurationError: A number is out of range.
        """
        try:
            return RetryPolicy(
                attempts=self.attempts,
                deadline_seconds=self.deadline_seconds,
                initial_seconds=self.initial_seconds,
                multiplier=self.multiplier,
                maximum_seconds=self.maximum_seconds,
                jitter=self.jitter,
            )
        except ValueError as error:
            raise ConfigurationError("retry", f"{error}.", "correct the retry settings of the resource.") from error


DATABASE_RETRY = Retry(attempts=4, deadline_seconds=120, initial_seconds=0.5, maximum_seconds=15)
"""A database that restarts or is full of connections: back within seconds."""
LOAD_RETRY = Retry(attempts=4, deadline_seconds=6 * 3600, initial_seconds=0.5, maximum_seconds=15)
"""A load: as a database, but one that breaks off after an hour is worth another try."""
REST_RETRY = Retry(attempts=5, deadline_seconds=300, initial_seconds=1, maximum_seconds=60)
"""An API that is overloaded or limits its callers: back within minutes."""
FILE_RETRY = Retry(attempts=3, deadline_seconds=60, initial_seconds=0.5, maximum_seconds=10)
"""A file store across a network."""
NO_RETRY = Retry(attempts=1)
"""One call only."""

__all__ = ["DATABASE_RETRY", "FILE_RETRY", "LOAD_RETRY", "NO_RETRY", "REST_RETRY", "Retry"]
