"""PostgreSQL URLs, engines, and what a driver error means.

The only place that normalises URLs: SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3, this project uses psycopg2.
Errors are told apart by SQLSTATE, and at connect time, where there is none, by the server's own words. Messages never hold the
password; DETAIL and CONTEXT, which quote row values, are left out.
"""

import re
from typing import Any, Literal

import psycopg2
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url

from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    EtlError,
    SourceNotFoundError,
    UnstorableValueError,
)

DRIVER = "postgresql+psycopg2"
_BARE_NAMES = {"postgres", "postgresql"}
_TRANSIENT_CLASSES = ("08", "53", "57P")
_TRANSIENT_STATES = {"40001", "40P01", "55P03", "57014", "25006"}
_NEVER_RETRIED = {"53100", "53200"}  # disk full, out of memory: repeating makes it worse


def normalise_url(url: str | URL) -> URL:
    """The URL with its driver named: `postgres://` and `postgresql://` become `postgresql+psycopg2://`; others stay as they are.

    Raises:
        ConfigurationError: The text is no database URL.
    """
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError(
            "database URL", "it cannot be read as dialect://user:password@host:port/database.",
            "check its setting; special characters in the password must be percent-encoded.",
        ) from error  # fmt: skip
    return parsed.set(drivername=DRIVER) if parsed.drivername in _BARE_NAMES else parsed


def make_engine(url: str | URL, *, application_name: str, statement_timeout_seconds: float = 0, read_only: bool = False) -> Engine:
    """An engine for a PostgreSQL URL with this project's session settings.

    Args:
        url: Any PostgreSQL URL; a missing driver is filled in.
        application_name: Shown in `pg_stat_activity`.
        statement_timeout_seconds: Longest time of one statement; 0 for no limit.
        read_only: The server refuses every write in this session.
    """
    options = [f"-c statement_timeout={int(statement_timeout_seconds * 1000)}", "-c TimeZone=UTC", "-c DateStyle=ISO"]
    if read_only:
        options.append("-c default_transaction_read_only=on")
    return sa.create_engine(
        normalise_url(url),
        connect_args={"application_name": application_name, "connect_timeout": 10, "options": " ".join(options)},
        pool_pre_ping=True,
        hide_parameters=True,
    )


def explain_error(error: BaseException, *, where: str, role: Literal["source", "target"] = "target") -> EtlError:
    """This project's error for an error of SQLAlchemy or psycopg2.

    Args:
        error: What was raised; an `EtlError` is returned unchanged, and what no database raised is raised again.
        where: The asset or source it happened for.
        role: Whether the database was read or written, for the next step.
    """
    if isinstance(error, EtlError):
        return error
    original: Any = getattr(error, "orig", None) or error
    if not isinstance(original, psycopg2.Error | sa.exc.SQLAlchemyError):
        raise error
    state: str | None = getattr(original, "pgcode", None)
    said = _first_line(original)
    if state is None:
        return _explain_without_state(said, where)
    if state[:2] == "28":
        return AuthenticationError(where, f"PostgreSQL refused the credentials ({said}).", "check user and password of the URL.")
    if state not in _NEVER_RETRIED and (state in _TRANSIENT_STATES or state.startswith(_TRANSIENT_CLASSES)):
        return DatabaseUnavailableError(where, f"{said} (SQLSTATE {state}).", "it is tried again; if it stays, look at the server.")
    if state[:2] in {"22", "23"}:
        return UnstorableValueError(where, f"{said} (SQLSTATE {state}).", "correct the rows or the contract; the table was left as it was.")
    next_step = {
        "42501": "grant the missing privilege to the user of the URL.",
        "3D000": "create the database, or correct its name in the URL.",
        "42P01": "correct the name of the table, or create it.",
        "2BP01": "drop or alter the dependent objects that PostgreSQL names.",
        "53100": "free disk space on the server.",
    }.get(state, "correct what it names; repeating will not help.")
    if role == "source" and state in {"42P01", "42703", "3F000"}:
        return SourceNotFoundError(where, f"{said} (SQLSTATE {state}).", "correct the name, or create it.")
    said_hint = getattr(getattr(original, "diag", None), "message_hint", None)
    hint = f" {said_hint}" if said_hint else ""
    return DatabaseRefusedError(where, f"the {role} database answered: {said} (SQLSTATE {state}).{hint}", next_step)


def _explain_without_state(said: str, where: str) -> EtlError:
    lowered = said.lower()
    if "password authentication failed" in lowered or "no password supplied" in lowered or "pg_hba" in lowered:
        return AuthenticationError(where, f"PostgreSQL refused the credentials ({said}).", "check user and password of the URL.")
    if "does not exist" in lowered:
        return ConfigurationError(where, f"PostgreSQL answered: {said}.", "correct user or database in the URL.")
    if "could not translate host name" in lowered:
        return ConfigurationError(where, f"the host is not known ({said}).", "correct the host in the URL.")
    return DatabaseUnavailableError(
        where, f"the database cannot be reached ({said}).", "check that the server runs and that host and port of the URL are right."
    )


def _first_line(original: BaseException) -> str:
    text = str(original).strip()
    # libpq puts "connection to server at ..., port ... failed: FATAL:" before the part that matters.
    line = text.splitlines()[0] if text else type(original).__name__
    line = re.sub(r"^.*?(FATAL|ERROR):\s*", "", line).rstrip(".")
    return redact_url(line)


def redact_url(text: str) -> str:
    """The text with the password of every URL in it replaced by ***."""
    return re.sub(r"(\w[\w+.-]*://[^:/@\s]*):[^@\s]+@", r"\1:***@", text)


__all__ = ["DRIVER", "explain_error", "make_engine", "normalise_url", "redact_url"]
