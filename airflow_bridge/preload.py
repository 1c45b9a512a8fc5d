"""Warm starts: what a task imports is imported once, in the process that Airflow forks its tasks from.

In `$AIRFLOW_HOME/config/airflow_local_settings.py`:

    from airflow_bridge.preload import warm
    warm()

It does something in the scheduler (LocalExecutor) and in Celery workers, and a little in the dag-processor. Libraries alone, nothing that
holds a thread or a connection; the project only where it is named, for its next version is for the next task to see (`kept.py`).

Not here: whether it works (`doctor.py`).
"""

import gc
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from airflow_bridge.launcher import KEPT

_LOG = logging.getLogger(__name__)

MODULES = "AIRFLOW_BRIDGE_PRELOAD"
"""Variable with further modules to import, separated by commas; libraries of the project, not the project."""
DEFINITIONS = "AIRFLOW_BRIDGE_DEFINITIONS"
"""Variable with definitions to keep, separated by commas: a module, or module:attribute."""
WARM = "AIRFLOW_BRIDGE_WARM"
"""Variable that tells a task that its parent is warm."""
_FORKING = ("scheduler", "celery")
# Reads DAG files in processes that it forks; dagster and pandas have no place there.
_PARSING, _FOR_PARSING = "dag-processor", ("airflow_bridge.dags", "airflow_bridge.watching")
# What a step imports beside dagster itself, as seen on a step that ran: a string selection is parsed by ANTLR, values in files go through
# upath and fsspec, and the storages come with their drivers.
_LEARNED = (
    "dagster", "dagster._core.execution.api", "dagster._core.execution.context_creation_job", "dagster._core.definitions.reconstruct",
    "dagster._core.definitions.asset_selection", "dagster._core.definitions.antlr_asset_selection.antlr_asset_selection",
    "dagster._core.execution.plan.instance_concurrency_context", "dagster._core.storage.fs_io_manager",
    "dagster._core.storage.local_compute_log_manager", "dagster._core.storage.noop_compute_log_manager",
    "dagster._core.storage.event_log.sqlite", "dagster._core.storage.runs.sqlite", "dagster._core.storage.schedules.sqlite",
    "dagster._core.run_coordinator.queued_run_coordinator", "dagster._core.launcher.default_run_launcher", "dagster_postgres",
    "dagster_postgres.event_log", "dagster_postgres.run_storage", "dagster_postgres.schedule_storage",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "sqlalchemy.dialects.sqlite.pysqlite", "antlr4", "upath", "fsspec.implementations.local", "dotenv", "psycopg2", "pandas", "pyarrow",
    "pyarrow.compute", "pandera.pandas", "pandera.backends.pandas.register", "pgpq", "airflow_bridge.runner", "airflow_bridge.operators",
    "airflow_bridge.dags",
)  # fmt: skip


def warm(arguments: Sequence[str] | None = None, *, modules: Sequence[str] = (), definitions: Sequence[str] = ()) -> list[str]:
    """Import what tasks need, when this process is one that forks them.

    Args:
        arguments: Of the process; those of this one when None.
        modules: Further modules; those that the variable AIRFLOW_BRIDGE_PRELOAD names come too.
        definitions: Of projects, as "module" or "module:attribute"; tasks use them as long as nothing that they are made of has changed.
            Those that the variable AIRFLOW_BRIDGE_DEFINITIONS names come too.

    Returns:
        What could not be imported, or kept; a module that is not installed is none of it.
    """
    given = sys.argv if arguments is None else arguments
    parses = given[1:2] == [_PARSING]
    if not parses and not any(word in _FORKING for word in given[1:3]):
        return []
    failed = []
    for name in _FOR_PARSING if parses else (*_LEARNED, *modules, *_named(MODULES)):
        try:
            if importlib.util.find_spec(name.partition(".")[0]) is None:
                continue
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            # A library that does not import is for the task that needs it to say; the scheduler has to start.
            failed.append(f"{name}: {error}")
    if not parses:
        failed += _keep([*definitions, *_named(DEFINITIONS)])
    gc.collect()
    # A collection in a task would walk, and so copy, all that it has inherited.
    gc.freeze()
    os.register_at_fork(after_in_child=gc.freeze)
    if not parses:
        os.environ[WARM] = "1"
    return failed


def _named(variable: str) -> list[str]:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


def _keep(definitions: Sequence[str]) -> list[str]:
    """Keep definitions of projects; why some will not be used."""
    if not definitions:
        return []
    try:
        kept: Any = importlib.import_module(KEPT)
    except ImportError as error:
        return [f"{KEPT}: {error}"]
    refused = []
    for name in dict.fromkeys(definitions):
        module, _, attribute = name.partition(":")
        reason = kept.keep(module, attribute or "defs")
        if reason:
            refused.append(f"{name}: {reason}")
            next_step = "mend the import, or correct or leave out its name in what warm() keeps."
            _LOG.warning("%s Each of its tasks starts a new interpreter. Next: %s", reason, next_step)
    return refused


__all__ = ["DEFINITIONS", "MODULES", "WARM", "warm"]
