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
    SourceFormatError,
    SourceNotFoundError,
    UnstorableValueError,
)

DRIVER = "postgresql+psycopg2"
_BARE_NAMES = {"postgres", "postgresql"}
_TRANSIENT_CLASSES = ("08", "53", "57P")
# Conflicts, time limits of locks and statements, and of transactions that wait for their client.
_TRANSIENT_STATES = {"40001", "40P01", "55P03", "57014", "25P03", "25P04"}
_READ_ONLY = "25006"  # a source is opened so and stays so; a target may be a standby during a switch-over
_LOCKED = "55P03"
_RAISED = "P0001"  # by a trigger, about a row
_NEVER_RETRIED = {"53100", "53200"}  # disk full, out of memory: repeating makes it worse
_SECRET_OPTION = re.compile("pass|pwd|secret|token|odbc_connect", re.IGNORECASE)
# How values are printed must not depend on settings of the database or the role.
_SESSION = {"TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "postgres", "bytea_output": "hex", "extra_float_digits": "1"}


def normalise_url(url: str | URL) -> URL:
    """The URL with its driver named: `postgres://` and `postgresql://` become `postgresql+psycopg2://`; others stay as they are.

    Raises:
        ConfigurationError: The text is no database URL; it is not shown, for it may hold a password.
    """
    try:
        parsed = make_url(url)
        readable = "@" not in (parsed.host or "")
    except (sa.exc.ArgumentError, ValueError):
        readable = False
    if not readable:
        raise ConfigurationError(
            "database URL", "it cannot be read as dialect://user:password@host:port/database.",
            "check its setting; special characters in the password must be percent-encoded.",
        )  # fmt: skip
    return parsed.set(drivername=DRIVER) if parsed.drivername in _BARE_NAMES else parsed


def show_url(url: URL) -> str:
    """The URL for messages: its password as ***, options that may hold a password left out."""
    return url.difference_update_query([name for name in url.query if _SECRET_OPTION.search(name)]).render_as_string(hide_password=True)


def create_engine(url: URL, **options: Any) -> Engine:
    """SQLAlchemy's `create_engine` without parameter values in messages.

    Raises:
        ConfigurationError: The driver is unknown or not installed, or an option of the URL cannot be read.
    """
    try:
        return sa.create_engine(url, hide_parameters=True, **options)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(
            show_url(url), f"no driver for this URL is installed ({error}).", "install it, or correct the dialect."
        ) from error
    except sa.exc.ArgumentError as error:
        raise ConfigurationError(show_url(url), f"the URL cannot be used ({redact_url(str(error))}).", "correct its options.") from error


def make_engine(url: str | URL, *, application_name: str, statement_timeout_seconds: float = 0, read_only: bool = False) -> Engine:
    """An engine for a PostgreSQL URL with this project's session settings.

    Args:
        url: Any PostgreSQL URL; a missing driver is filled in.
        application_name: Shown in `pg_stat_activity`.
        statement_timeout_seconds: Longest time of one statement; 0 for no limit.
        read_only: The server refuses every write in this session.

    Raises:
        ConfigurationError: The text is no database URL, or its driver is not installed.
    """
    settings = {**_SESSION, "statement_timeout": str(int(statement_timeout_seconds * 1000))}
    if read_only:
        settings["default_transaction_read_only"] = "on"
    else:
        # A load locks first and looks afterwards: what it finds must be newer than the lock, whatever the database has for its default.
        settings["default_transaction_isolation"] = r"read\ committed"
    return create_engine(
        normalise_url(url),
        connect_args={
            "application_name": application_name,
            "client_encoding": "UTF8",
            "connect_timeout": 10,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        },
        pool_pre_ping=True,
    )


def explain_error(error: BaseException, *, where: str, role: Literal["source", "target"] = "target") -> EtlError:
    """This project's error for an error of SQLAlchemy or psycopg2.

    Args:
        error: What was raised; an `EtlError` is returned unchanged, and what no database raised is raised again.
        where: The asset or source it happened for.
        role: Whether the database was read or written: what is missing and what is read-only mean another thing for a source.
    """
    if isinstance(error, EtlError):
        return error
    original: Any = getattr(error, "orig", None) or error
    if not isinstance(original, psycopg2.Error | sa.exc.SQLAlchemyError):
        raise error
    state: str | None = getattr(original, "pgcode", None)
    said = _first_line(original)
    if state is None:
        return _explain_without_state(original, said, where)
    if state[:2] == "28":
        return AuthenticationError(where, f"PostgreSQL refused the credentials ({said}).", "check user and password of the URL.")
    if state == _LOCKED:
        return DatabaseUnavailableError(
            where, f"another session holds a lock that is needed ({said}, SQLSTATE {state}).",
            "end that session (pg_blocking_pids names it), or wait longer by lock_timeout_seconds.",
        )  # fmt: skip
    if _is_transient(state, role):
        return DatabaseUnavailableError(where, f"{said} (SQLSTATE {state}).", "it is tried again; if it stays, look at the server.")
    if state[:2] == "22" and role == "source":
        return SourceFormatError(
            where, f"the query cannot be answered: {said} (SQLSTATE {state}).", "correct the query, or leave such rows out."
        )
    if state[:2] in {"22", "23"} or (state == _RAISED and role == "target"):
        return UnstorableValueError(where, f"{said} (SQLSTATE {state}).", "correct the rows or the contract; the table was left as it was.")
    next_step = {
        "42501": "grant the missing privilege to the user of the URL; `etl-assets grants` prints what a loader needs.",
        "3D000": "create the database, or correct its name in the URL.",
        "42P01": "correct the name of the table, or create it.",
        _READ_ONLY: "make the query read only; a source is never written.",
        "2BP01": "drop or alter the dependent objects that PostgreSQL names.",
        "53100": "free disk space on the server.",
    }.get(state, "correct what it names; repeating will not help.")
    if role == "source" and state in {"42P01", "42703", "3F000"}:
        return SourceNotFoundError(where, f"{said} (SQLSTATE {state}).", "correct the name, or create it.")
    said_hint = getattr(getattr(original, "diag", None), "message_hint", None)
    hint = f" {said_hint}" if said_hint else ""
    return DatabaseRefusedError(where, f"the {role} database answered: {said} (SQLSTATE {state}).{hint}", next_step)


def _is_transient(state: str, role: Literal["source", "target"]) -> bool:
    if state == _READ_ONLY:
        return role == "target"
    return state not in _NEVER_RETRIED and (state in _TRANSIENT_STATES or state.startswith(_TRANSIENT_CLASSES))


def _explain_without_state(original: BaseException, said: str, where: str) -> EtlError:
    lowered = said.lower()
    if any(words in lowered for words in ("password authentication failed", "no password supplied", "pg_hba", "not permitted to log in")):
        return AuthenticationError(where, f"PostgreSQL refused the credentials ({said}).", "check user and password of the URL.")
    if any(words in lowered for words in ("certificate verify failed", "does not match host name", "certificate is not valid")):
        return ConfigurationError(
            where, f"the server's certificate is not trusted ({said}).",
            "name the authority that signed it (tls_ca_file, or sslrootcert in the URL), or the host as the certificate does.",
        )  # fmt: skip
    if "root certificate file" in lowered or ("certificate file" in lowered and "does not exist" in lowered):
        return ConfigurationError(
            where, f"the certificate file cannot be used ({said}).", "correct tls_ca_file, or sslrootcert in the URL."
        )
    if "permission denied for database" in lowered:
        return DatabaseRefusedError(where, f"PostgreSQL answered: {said}.", "grant CONNECT on the database to the user of the URL.")
    if "does not exist" in lowered:
        return ConfigurationError(where, f"PostgreSQL answered: {said}.", "correct user or database in the URL.")
    if "could not translate host name" in lowered:
        return ConfigurationError(where, f"the host is not known ({said}).", "correct the host in the URL.")
    if any(words in lowered for words in ("invalid port number", "invalid sslmode value", "server does not support ssl")):
        return ConfigurationError(where, f"the connection cannot be made ({said}).", "correct port and options of the URL.")
    if not _lost_connection(original):
        return ConfigurationError(where, f"the driver refused the call ({said}).", "correct the options of the URL, or the parameters.")
    return DatabaseUnavailableError(
        where, f"the database cannot be reached ({said}).", "check that the server runs and that host and port of the URL are right."
    )


def _lost_connection(original: BaseException) -> bool:
    # psycopg2 raises a bare DatabaseError when a connection breaks amid a COPY; its subclasses say that something else is wrong.
    return isinstance(original, psycopg2.OperationalError | psycopg2.InterfaceError | sa.exc.TimeoutError) or (
        type(original) is psycopg2.DatabaseError
    )


def _first_line(original: BaseException) -> str:
    text = str(original).strip()
    # libpq puts "connection to server at ..., port ... failed: FATAL:" before the part that matters.
    line = text.splitlines()[0] if text else type(original).__name__
    line = re.sub(r"^.*?(FATAL|ERROR):\s*", "", line).rstrip(".")
    return redact_url(line)


def redact_url(text: str) -> str:
    """The text with the password of every URL in it replaced by ***."""
    without = re.sub(r"(\w[\w+.-]*://[^:/@\s]*):\S+@", r"\1:***@", text)
    return re.sub(rf"([?&](?:\w*(?:{_SECRET_OPTION.pattern})\w*)=)[^&\s]+", r"\1***", without, flags=re.IGNORECASE)


__all__ = ["DRIVER", "create_engine", "explain_error", "make_engine", "normalise_url", "redact_url", "show_url"]
