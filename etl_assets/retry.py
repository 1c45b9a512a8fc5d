"""One retry policy for the whole project.

Connectors and the writer call `RetryPolicy.call`; Dagster steps get the same numbers through `assets.py`; the manifest carries
them to Airflow. One layer retries one unit of work (a page, a query, a transaction), so that retries never multiply.

Not here: which error of which library is transient. Each room decides that where it talks to the library.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from etl_assets.errors import EtlError, RateLimitedError, TransientError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often, how long and how patiently a transient failure is tried again.

    Attributes:
        attempts: Calls in all, the first one included.
        deadline_seconds: No new attempt starts later than this after the first call began; a longer wait that the other side asks
            for ends the trying at once.
        initial_seconds: Upper end of the wait before the second attempt.
        multiplier: Factor by which that upper end grows with each attempt.
        maximum_seconds: The upper end never grows beyond this.
        jitter: Draw the wait between zero and the upper end, so that many callers do not return at once.
        retry_on: Classes of errors that are tried again; everything else is raised at once.
    """

    attempts: int = 4
    deadline_seconds: float = 120.0
    initial_seconds: float = 0.5
    multiplier: float = 2.0
    maximum_seconds: float = 30.0
    jitter: bool = True
    retry_on: tuple[type[EtlError], ...] = (TransientError,)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts counts the first call too, so it is at least 1; given: {self.attempts}")
        for name in ("deadline_seconds", "initial_seconds", "maximum_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a length of time, so at least 0; given: {getattr(self, name)}")
        if self.multiplier < 1:
            raise ValueError(f"multiplier makes waits longer, so it is at least 1; given: {self.multiplier}")

    def call(self, function: Callable[[], Result], *, doing: str, sleep: Callable[[float], None] | None = None) -> Result:
        """Call `function` until it succeeds, fails for good, or the policy is used up.

        Args:
            function: One whole unit of work, safe to repeat.
            doing: What it does, for the log line before each wait.
            sleep: Replaces `time.sleep`; a test passes a list's `append`.

        Returns:
            What `function` returned.

        Raises:
            TransientError: The last one, when attempts or deadline are used up.
            Exception: Anything else that `function` raises, at once.
        """
        drawn = self._wait()

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after_seconds if isinstance(error, TransientError) else None
            # Coming back earlier than the other side asks would only be refused again.
            return max(drawn(state), asked or 0.0)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(self.retry_on),
            stop=tenacity.stop_after_attempt(self.attempts) | tenacity.stop_before_delay(self.deadline_seconds),
            wait=wait,
            before_sleep=lambda state: _log_wait(state, doing, self.attempts),
            sleep=sleep or tenacity.nap.sleep,
            reraise=True,
        )
        return retrying(function)

    def _wait(self) -> tenacity.wait.wait_base:
        if self.jitter:
            return tenacity.wait_random_exponential(multiplier=self.initial_seconds, exp_base=self.multiplier, max=self.maximum_seconds)
        return tenacity.wait_exponential(multiplier=self.initial_seconds, exp_base=self.multiplier, max=self.maximum_seconds)


def _log_wait(state: tenacity.RetryCallState, doing: str, attempts: int) -> None:
    error = state.outcome.exception() if state.outcome else None
    wait = state.next_action.sleep if state.next_action else 0.0
    if isinstance(error, RateLimitedError):
        logger.warning("%s: rate limited, waiting %.0f s", doing, wait)
        return
    logger.warning("%s: attempt %d of %d failed (%s); waiting %.1f s", doing, state.attempt_number, attempts, error, wait)


DEFAULT_RETRY = RetryPolicy()
NO_RETRY = RetryPolicy(attempts=1)

__all__ = ["DEFAULT_RETRY", "NO_RETRY", "RetryPolicy"]
