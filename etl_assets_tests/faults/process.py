"""A loader in a process of its own: it tells how far it is, and can be killed at any point.

Processes are forked off a server that has imported everything, which takes milliseconds instead of seconds. Not here: what is loaded
(`deliveries.py`), what is done to it (`kinds.py`).
"""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

import pandas as pd
import psycopg2
from sqlalchemy.engine import make_url

from etl_assets.errors import EtlError
from etl_assets.loading.postgres import PostgresResource
from etl_assets.retry_settings import Retry
from etl_assets_tests.faults.deliveries import Delivery

_CONTEXT: Any = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
PATIENT = Retry(attempts=40, deadline_seconds=60, initial_seconds=0.05, maximum_seconds=0.5)
ONCE = Retry(attempts=1)
Loader = Literal["etl_assets", "naive"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a loader loads.

    Attributes:
        loader: The project's, or one that appends frame by frame and keeps no ledger: the suite must catch it.
        retry: How often it tries.
        statement_timeout_seconds: Of the session.
        lock_timeout_seconds: For locks of readers.
    """

    loader: Loader = "etl_assets"
    retry: Retry = field(default_factory=lambda: PATIENT)
    statement_timeout_seconds: float = 60.0
    lock_timeout_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a load ended.

    Attributes:
        status: It is in the table, one error of ours told why not, something else was raised, or the process was killed.
        says: The error.
        found_committed: An earlier attempt had brought it in.
    """

    status: Literal["loaded", "failed", "raised", "killed"]
    says: str = ""
    found_committed: bool = False


def _run(url: str, delivery: Delivery, settings: Settings, pipe: Connection) -> None:
    """Load one delivery; the body of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)

    def frames() -> Iterator[pd.DataFrame]:
        pipe.send(("reading", 0))
        for place, frame in enumerate(delivery.make_frames(), start=1):
            yield frame
            pipe.send(("copied", place))
            time.sleep(delivery.pause_seconds)

    try:
        if settings.loader == "naive":
            _append_naively(url, delivery, frames())
            pipe.send(Outcome(status="loaded"))
            return
        postgres = PostgresResource(
            url=url,
            retry=settings.retry,
            statement_timeout_seconds=settings.statement_timeout_seconds,
            lock_timeout_seconds=settings.lock_timeout_seconds,
        )
        result = postgres.load(
            frames, table=delivery.table, options=delivery.options, partition=delivery.partition, load_id=delivery.load_id
        )  # fmt: skip
        pipe.send(Outcome(status="loaded", found_committed=result.found_committed))
    except EtlError as error:
        pipe.send(Outcome(status="failed", says=f"{type(error).__name__}: {error}"))
    except Exception as error:
        pipe.send(Outcome(status="raised", says=f"{type(error).__name__}: {error}"))


def _append_naively(url: str, delivery: Delivery, frames: Iterator[pd.DataFrame]) -> None:
    """What a hand-written script does: each chunk commits by itself, and whoever runs it again appends again."""
    import io

    target = make_url(url)
    connection = psycopg2.connect(
        host=target.host, port=target.port, user=target.username, password=target.password, dbname=target.database
    )  # fmt: skip
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for frame in frames:
                text = io.StringIO(frame.to_csv(index=False, header=False))
                cursor.copy_expert(f"COPY {delivery.table} (number, part, id, v, note) FROM STDIN WITH (FORMAT csv)", text)
    finally:
        connection.close()


class LoaderProcess:
    """A running loader."""

    def __init__(self, url: str, delivery: Delivery, settings: Settings) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_run, args=(url, delivery, settings, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._outcome: Outcome | None = None

    def wait_until(self, stage: Literal["reading", "copied"], place: int = 0, *, seconds: float = 30.0) -> bool:
        """Wait until so many frames were copied, or reading began; False when it ended before."""
        deadline = time.monotonic() + seconds
        while self._outcome is None and self._pipe.poll(max(0.0, deadline - time.monotonic())):
            message = self._receive()
            if isinstance(message, tuple) and message[0] == stage and message[1] >= place:
                return True
        return False

    def _receive(self) -> Any:
        try:
            message = self._pipe.recv()
        except EOFError:
            message = Outcome(status="killed")
        if isinstance(message, Outcome):
            self._outcome = message
        return message

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._outcome is None and self._process.is_alive()

    def kill(self) -> bool:
        """Kill it with -9; False when it had ended."""
        running = self._process.is_alive() and self._outcome is None
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        return running

    def outcome(self, *, seconds: float = 90.0) -> Outcome:
        """How it ended; a process that does not end in time is killed."""
        deadline = time.monotonic() + seconds
        while self._outcome is None and self._pipe.poll(max(0.0, deadline - time.monotonic())):
            self._receive()
        if self._outcome is None:
            self.kill()
            self._outcome = Outcome(status="killed", says=f"it did not end within {seconds} s")
        self._process.join()
        self._pipe.close()
        return self._outcome


__all__ = ["ONCE", "PATIENT", "Loader", "LoaderProcess", "Outcome", "Settings"]
