"""Faults of processes, connections and the server. Each function makes one, lets it heal, and tells whether it landed.

Not here: rows that are wrong and loads that meet (`mistakes.py`).
"""

import contextlib
import time
from typing import Any

import psycopg2

from etl_assets_tests.faults.process import ONCE, LoaderProcess, Outcome
from etl_assets_tests.faults.stage import Stage
from etl_assets_tests.faults.warehouse import MOST_CONNECTIONS
from etl_assets_tests.tcp_proxy import COMMIT


def kill_loader_while_it_reads(stage: Stage) -> bool:
    """kill -9 before the first rows are copied."""
    delivery = stage.delivery()
    loader = stage.start(delivery)
    loader.wait_until("reading")
    since = time.monotonic()
    landed = loader.kill()
    stage.settle(delivery, loader.outcome(), since=since)
    return landed


def kill_loader_while_it_copies(stage: Stage) -> bool:
    """kill -9 after a random frame."""
    delivery = stage.delivery(pause_seconds=0.03)
    loader = stage.start(delivery)
    loader.wait_until("copied", stage.random.randint(1, delivery.frames - 1))
    time.sleep(stage.random.uniform(0, 0.01))
    since = time.monotonic()
    landed = loader.kill()
    stage.settle(delivery, loader.outcome(), since=since)
    return landed


def kill_loader_before_commit(stage: Stage) -> bool:
    """kill -9 when COMMIT was sent and has not reached the server."""
    return _kill_at_commit(stage, committed=False)


def kill_loader_at_commit(stage: Stage) -> bool:
    """kill -9 when COMMIT has reached the server and its answer has not come back."""
    return _kill_at_commit(stage, committed=True)


def _kill_at_commit(stage: Stage, *, committed: bool) -> bool:
    delivery, proxy = stage.delivery(), stage.proxy
    proxy.held.clear()
    proxy.release.clear()
    proxy.hold_before = COMMIT
    if committed:
        proxy.lose_answer_to = COMMIT
    loader = stage.start(delivery, through_proxy=True)
    landed = proxy.held.wait(30)
    since = time.monotonic()
    if committed:
        proxy.release.set()
        time.sleep(stage.random.uniform(0, 0.02))
    landed &= loader.kill()
    proxy.forget()
    stage.settle(delivery, loader.outcome(), since=since)
    return landed


def kill_server(stage: Stage) -> bool:
    """kill -9 of the postmaster while rows are copied; the server is started again."""
    delivery = stage.delivery(pause_seconds=0.1)
    loader = stage.start(delivery)
    loader.wait_until("copied", stage.random.randint(1, delivery.frames - 1))
    since = time.monotonic()
    landed = loader.is_running and stage.warehouse.kill()
    time.sleep(stage.random.uniform(0, 0.3))
    stage.warehouse.start()
    stage.settle(delivery, loader.outcome(), since=since)
    return landed


def restart_server(stage: Stage) -> bool:
    """The server is stopped in order while rows are copied, and started again."""
    delivery = stage.delivery(pause_seconds=0.1)
    loader = stage.start(delivery)
    loader.wait_until("copied", stage.random.randint(1, delivery.frames - 1))
    since = time.monotonic()
    landed = loader.is_running
    stage.warehouse.restart()
    stage.settle(delivery, loader.outcome(), since=since)
    return landed


def cut_connection(stage: Stage) -> bool:
    """The connection is reset after a random number of bytes."""
    return _break_connection(stage, cut_after=stage.random.randint(500, stage.rows * 30))[0]


def cut_connection_before_commit(stage: Stage) -> bool:
    """The connection is reset when COMMIT is sent: the server does not get it."""
    return _break_connection(stage, cut_before=COMMIT)[0]


def lose_answer_to_commit(stage: Stage) -> bool:
    """COMMIT reaches the server, and its answer is lost: the loader must find out that it is in."""
    broken, outcome = _break_connection(stage, lose_answer_to=COMMIT)
    return broken and outcome.found_committed


def refuse_connections(stage: Stage) -> bool:
    """The first connections are closed at once."""
    return _break_connection(stage, refuse=stage.random.randint(1, 4))[0]


def _break_connection(stage: Stage, **how: Any) -> tuple[bool, Outcome]:
    """Load through the proxy, which breaks a connection as told; whether it did, and how the load ended."""
    delivery, proxy = stage.delivery(), stage.proxy
    broken = proxy.broken
    for name, value in how.items():
        setattr(proxy, name, value)
    since = time.monotonic()
    outcome = stage.load(delivery, through_proxy=True)
    proxy.forget()
    stage.settle(delivery, outcome, since=since)
    return proxy.broken > broken, outcome


def terminate_backend(stage: Stage) -> bool:
    """An administrator ends the session of the loader."""
    delivery = stage.delivery(pause_seconds=0.1)
    loader = stage.start(delivery)
    loader.wait_until("copied", stage.random.randint(1, delivery.frames - 1))
    since = time.monotonic()
    landed = stage.warehouse.terminate_loaders() > 0
    stage.settle(delivery, loader.outcome(), since=since)
    return landed


def statement_timeout(stage: Stage) -> bool:
    """A statement takes longer than it may: one clear error, and the next delivery is in."""
    delivery = stage.delivery("appended", "parted")
    since = time.monotonic()
    # The table is held by a reader, so that the first statement on it takes too long.
    with stage.warehouse.session(autocommit=False) as cursor:
        cursor.execute(f"LOCK TABLE {delivery.table} IN ACCESS EXCLUSIVE MODE")
        outcome = stage.load(delivery, retry=ONCE, statement_timeout_seconds=0.2)
    landed = outcome.status == "failed" and "57014" in outcome.says
    stage.settle(delivery, outcome, since=since)
    return landed


def lock_timeout(stage: Stage) -> bool:
    """A session holds the table longer than a loader waits; the loader tries again until it is free."""
    delivery = stage.delivery("appended", "parted")
    since = time.monotonic()
    with stage.warehouse.session(autocommit=False) as cursor:
        cursor.execute(f"LOCK TABLE {delivery.table} IN ACCESS EXCLUSIVE MODE")
        loader = stage.start(delivery, lock_timeout_seconds=0.1)
        landed = _fails_for(stage, loader, "lock timeout")
    stage.settle(delivery, loader.outcome(), since=since)
    return landed


def _fails_for(stage: Stage, loader: LoaderProcess, words: str, *, seconds: float = 10.0) -> bool:
    """Whether a loader was told so, while it goes on trying: the ledger cannot say, its session is gone each time."""
    deadline = time.monotonic() + seconds
    seen: set[int] = set()
    while loader.is_running and time.monotonic() < deadline:
        found = stage.warehouse.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'etl_assets' AND wait_event_type = 'Lock'"
        )
        seen |= {pid for (pid,) in found}
        if len(seen) > 1:  # the second session means that the first one gave up
            return True
        time.sleep(0.02)
    return False


def idle_timeout(stage: Stage) -> bool:
    """A transaction that waits for its client longer than it may is ended by the server."""
    delivery = stage.delivery(pause_seconds=0.4)
    since = time.monotonic()
    with stage.warehouse.database_setting("idle_in_transaction_session_timeout", "'100ms'"):
        outcome = stage.load(delivery, retry=ONCE)
    stage.settle(delivery, outcome, since=since)
    return outcome.status == "failed" and "Next:" in outcome.says


def deadlock(stage: Stage) -> bool:
    """Another session waits for the loader, which then waits for that session: the server ends the loader's transaction."""
    first = stage.delivery("merged")
    stage.settle(first, stage.load(first), since=time.monotonic())
    delivery = stage.delivery("merged", pause_seconds=0.05)
    with stage.warehouse.session(autocommit=False) as cursor:
        cursor.execute("SELECT id FROM merged WHERE id = 0 FOR UPDATE")
        loader = stage.start(delivery)
        loader.wait_until("copied", 1)
        since = time.monotonic()
        # The lock that the loader holds while it loads; this session asks first, so the loader closes the circle.
        cursor.execute("SET lock_timeout = '10s'")
        try:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('etl_assets table public.merged', 0))")
            landed = True  # the loader was ended, and its lock with it
        except psycopg2.errors.DeadlockDetected:
            landed = False
    stage.settle(delivery, loader.outcome(), since=since)
    return landed


def serialization_failure(stage: Stage) -> bool:
    """The server says that the transaction must be run again."""
    delivery = stage.delivery("appended")
    stage.warehouse.execute(
        "CREATE SEQUENCE IF NOT EXISTS conflicts",
        "SELECT setval('conflicts', 1, false)",
        """CREATE OR REPLACE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             IF nextval('conflicts') <= 2 THEN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END IF;
             RETURN NULL;
           END $$""",
        "CREATE TRIGGER conflict AFTER INSERT ON appended FOR EACH STATEMENT EXECUTE FUNCTION conflict()",
    )
    since = time.monotonic()
    outcome = stage.load(delivery)
    ((calls,),) = stage.warehouse.execute("SELECT last_value FROM conflicts")
    stage.warehouse.execute("DROP TRIGGER conflict ON appended")
    stage.settle(delivery, outcome, since=since)
    return outcome.status == "loaded" and int(calls) > 2


def too_many_connections(stage: Stage) -> bool:
    """No connection is left for a while."""
    delivery = stage.delivery()
    since = time.monotonic()
    with contextlib.ExitStack() as taken:
        full = False
        for _ in range(MOST_CONNECTIONS):
            try:
                taken.enter_context(stage.warehouse.session())
            except psycopg2.OperationalError:
                full = True
                break
        outcome = stage.load(delivery, retry=ONCE)
    stage.settle(delivery, outcome, since=since)
    return full and outcome.status == "failed" and "DatabaseUnavailableError" in outcome.says


def disk_full(stage: Stage) -> bool:
    """The disk of the table is full: one clear error, the rows of before stay; with space again it is loaded."""
    with stage.warehouse.small_disk(2) as space, stage.warehouse.database_setting("default_tablespace", space):
        delivery = stage.delivery("replaced")
        since = time.monotonic()
        stage.warehouse.execute(f"CREATE TABLE filling (text text) TABLESPACE {space}")
        with contextlib.suppress(psycopg2.errors.DiskFull):
            while True:
                stage.warehouse.execute("INSERT INTO filling SELECT repeat('x', 500) FROM generate_series(1, 100)")
        outcome = stage.load(delivery, retry=ONCE)
        stage.warehouse.execute("DROP TABLE filling")
    landed = outcome.status == "failed" and "53100" in outcome.says
    stage.settle(delivery, outcome, since=since)
    return landed


def read_only_server(stage: Stage) -> bool:
    """The server takes no writes for a moment, as during a switch-over."""
    delivery = stage.delivery()
    since = time.monotonic()
    with stage.warehouse.database_setting("default_transaction_read_only", "on"):
        first = stage.load(delivery, retry=ONCE)
        loader = stage.start(delivery)
        time.sleep(stage.random.uniform(0.1, 0.5))
        # Sessions are told what to be when they begin, and this one too.
        stage.warehouse.execute("SET default_transaction_read_only = off", "ALTER DATABASE faults RESET default_transaction_read_only")
    stage.settle(delivery, loader.outcome(), since=since)
    return first.status == "failed" and "25006" in first.says


CONNECTIONS = (
    kill_loader_while_it_reads, kill_loader_while_it_copies, kill_loader_before_commit, kill_loader_at_commit, kill_server, restart_server,
    cut_connection, cut_connection_before_commit, lose_answer_to_commit, refuse_connections, terminate_backend, statement_timeout,
    lock_timeout, idle_timeout, deadlock, serialization_failure, too_many_connections, disk_full, read_only_server,
)  # fmt: skip

__all__ = ["CONNECTIONS"]
