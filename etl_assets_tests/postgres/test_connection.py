"""PostgreSQL URLs, session settings, and what an error of the server is."""

import contextlib
from collections.abc import Iterator

import psycopg2
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from etl_assets.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    EtlError,
    SourceNotFoundError,
    UnstorableValueError,
)
from etl_assets.local_postgres import LocalPostgres
from etl_assets.postgres.connection import explain_error, make_engine, normalise_url, redact_url

SETUP = """
CREATE TABLE t (n integer NOT NULL UNIQUE CHECK (n > 0), short varchar(2), day date);
INSERT INTO t VALUES (1, 'a', '2013-01-01');
CREATE VIEW v AS SELECT n FROM t;
CREATE SCHEMA shut;
CREATE TABLE shut.t (n integer);
CREATE ROLE connection_guest LOGIN PASSWORD 'sesame';
CREATE ROLE connection_asleep PASSWORD 'sesame';
CREATE ROLE connection_crowd LOGIN PASSWORD 'sesame' CONNECTION LIMIT 0;
REVOKE CONNECT ON DATABASE test_connection FROM PUBLIC;
GRANT CONNECT ON DATABASE test_connection TO connection_crowd;
"""


@pytest.fixture(scope="module")
def url(postgres_server: LocalPostgres) -> str:
    """A database with tables to refuse statements on."""
    postgres_server.create_database("test_connection")
    address = postgres_server.url("test_connection")
    with opened(address) as connection:
        connection.exec_driver_sql(SETUP)
        connection.commit()
    return address


@contextlib.contextmanager
def opened(url: str | sa.URL, *, read_only: bool = False, statement_timeout_seconds: float = 0) -> Iterator[sa.Connection]:
    """A connection of an engine of ours."""
    engine = make_engine(url, application_name="test_connection", read_only=read_only, statement_timeout_seconds=statement_timeout_seconds)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def explained(url: str | sa.URL, statement: str = "SELECT 1", *, role: str = "target", read_only: bool = False) -> EtlError:
    """What the error of a statement is explained as."""
    with pytest.raises(sa.exc.SQLAlchemyError) as caught, opened(url, read_only=read_only, statement_timeout_seconds=0.2) as connection:
        connection.exec_driver_sql(statement)
    return explain_error(caught.value, where="the place", role="source" if role == "source" else "target")


# -- URLs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgres://u:p@h:1/d", "postgresql+psycopg2"),
        ("postgresql://u:p@h:1/d", "postgresql+psycopg2"),
        ("postgresql+psycopg2://u:p@h:1/d", "postgresql+psycopg2"),
        ("postgresql+psycopg://u:p@h:1/d", "postgresql+psycopg"),
        ("sqlite:///d", "sqlite"),
        ("mysql://u:p@h:1/d", "mysql"),
    ],
)
def test_a_bare_url_gets_its_driver(given: str, driver: str) -> None:
    """Only a PostgreSQL URL without a driver gets one."""
    assert normalise_url(given).drivername == driver


@pytest.mark.parametrize("given", ["postgresql://u:p%40%2F%3A@h:1/d?sslmode=disable", "postgresql:///d", "postgresql://h"])
def test_everything_else_of_a_url_stays(given: str) -> None:
    """User, password, host, port, database and options stay as they were."""
    assert normalise_url(given) == make_url(given).set(drivername="postgresql+psycopg2")


def test_a_parsed_url_is_accepted() -> None:
    """A URL object counts like its text."""
    assert normalise_url(make_url("postgres://u:p@h/d")) == normalise_url("postgres://u:p@h/d")


@pytest.mark.parametrize("given", ["", "not a url", "host/db", "postgresql//u:sesame@h/d", "postgresql://u:sesame@h:port/d"])
def test_what_is_no_url_is_an_error_of_configuration(given: str) -> None:
    """Text that is no database URL is an error of configuration."""
    with pytest.raises(ConfigurationError):
        normalise_url(given)


def test_what_is_no_url_is_not_shown() -> None:
    """The text that could not be read may hold a password, so the message leaves it out."""
    with pytest.raises(ConfigurationError) as caught:
        normalise_url("postgresql//u:sesame@h/d")
    assert "sesame" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:sesame@h/d", "postgresql://u:***@h/d"),
        ("postgresql+psycopg2://u:sesame@h/d", "postgresql+psycopg2://u:***@h/d"),
        ("at https://u:se:same@h/ and mysql://u:sesame@h/", "at https://u:***@h/ and mysql://u:***@h/"),
        ("redis://:sesame@h", "redis://:***@h"),
        ("postgresql://u:open@sesame@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("https://h:80/path", "https://h:80/path"),
        ("no address: a@b", "no address: a@b"),
    ],
)
def test_passwords_are_redacted(text: str, expected: str) -> None:
    """The password of every URL in a text is replaced, and nothing else."""
    assert redact_url(text) == expected


@pytest.mark.parametrize("given", ["postgresql+nosuch://u:sesame@h/d", "postgresql://u:sesame@/d?host=a,b&port=1,2,3"])
def test_a_url_without_a_usable_driver_is_an_error_of_configuration(given: str) -> None:
    """An unknown driver and options that contradict each other are errors of configuration, without the password."""
    with pytest.raises(ConfigurationError) as caught:
        make_engine(given, application_name="test")
    assert "sesame" not in str(caught.value)


# -- sessions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("TimeZone", "UTC"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "1"),
        ("client_encoding", "UTF8"),
        ("application_name", "test_connection"),
        ("default_transaction_read_only", "off"),
        ("statement_timeout", "0"),
    ],
)
def test_a_session_has_this_projects_settings(url: str, setting: str, expected: str) -> None:
    """Zone, how values are printed, encoding and name are set; writing is allowed and time unlimited unless asked otherwise."""
    with opened(url) as connection:
        assert connection.exec_driver_sql(f"SHOW {setting}").scalar_one() == expected


def test_a_statement_has_its_time_limit(url: str) -> None:
    """The limit is given in seconds, fractions included."""
    with opened(url, statement_timeout_seconds=1.5) as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "1500ms"


def test_a_read_only_session_refuses_writes(url: str) -> None:
    """The server refuses a write in a read-only session."""
    with pytest.raises(sa.exc.InternalError, match="read-only transaction"), opened(url, read_only=True) as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (2)")


def test_parameters_are_not_shown(url: str) -> None:
    """A message does not show the values of a statement, though the server quotes them in its second line."""
    with pytest.raises(sa.exc.DBAPIError) as caught, opened(url) as connection:
        connection.execute(sa.text("SELECT :v FROM nowhere"), {"v": "sesame"})
    assert "sesame" not in str(explain_error(caught.value, where="t"))


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "role", "error", "said"),
    [
        ("SELECT 1 FROM nowhere", "target", DatabaseRefusedError, "42P01"),
        ("SELECT 1 FROM nowhere", "source", SourceNotFoundError, "42P01"),
        ("SELECT nothing FROM t", "source", SourceNotFoundError, "42703"),
        ("CREATE TABLE nowhere.t (n integer)", "source", SourceNotFoundError, "3F000"),
        ("SELEC 1", "target", DatabaseRefusedError, "42601"),
        ("DROP TABLE t", "target", DatabaseRefusedError, "2BP01"),
        ("SET ROLE connection_guest; SELECT 1 FROM shut.t", "source", DatabaseRefusedError, "42501"),
        ("INSERT INTO t VALUES (NULL)", "target", UnstorableValueError, "23502"),
        ("INSERT INTO t VALUES (1)", "target", UnstorableValueError, "23505"),
        ("INSERT INTO t VALUES (-1)", "target", UnstorableValueError, "23514"),
        ("INSERT INTO t VALUES (2, 'long')", "target", UnstorableValueError, "22001"),
        ("INSERT INTO t VALUES (2147483648)", "target", UnstorableValueError, "22003"),
        ("INSERT INTO t VALUES (2, 'a', '2013-02-30')", "target", UnstorableValueError, "22008"),
        ("SELECT 'x'::integer", "target", UnstorableValueError, "22P02"),
        ("SELECT pg_sleep(20)", "target", DatabaseUnavailableError, "57014"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "target", DatabaseUnavailableError, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_is_classed_by_its_sqlstate(url: str, statement: str, role: str, error: type[EtlError], said: str) -> None:
    """Each SQLSTATE of the server is the error whose recovery fits, and the message names it."""
    found = explained(url, statement, role=role)
    assert (type(found), said in found.cause) == (error, True)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("LOCK TABLE t IN ACCESS EXCLUSIVE MODE NOWAIT", DatabaseUnavailableError),
        ("SET LOCAL lock_timeout = '50ms'; DROP VIEW v", DatabaseUnavailableError),
    ],
    ids=["not at once", "lock timeout"],
)
def test_a_lock_of_another_session_is_transient(url: str, statement: str, expected: type[EtlError]) -> None:
    """A lock that somebody else holds may be free the next time."""
    with opened(url) as holder:
        holder.exec_driver_sql("SELECT 1 FROM t, v")
        holder.exec_driver_sql("LOCK TABLE t IN ROW SHARE MODE")
        found = explained(url, statement)
    assert type(found) is expected


def test_a_serialisation_conflict_is_transient(url: str) -> None:
    """A transaction that lost against another one may win the next time."""
    with opened(url) as one, opened(url) as two:
        for connection in (one, two):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.exec_driver_sql("SELECT 1 FROM t")
        one.exec_driver_sql("UPDATE t SET short = 'b'")
        one.commit()
        with pytest.raises(sa.exc.DBAPIError) as caught:
            two.exec_driver_sql("UPDATE t SET short = 'c'")
    assert type(explain_error(caught.value, where="t")) is DatabaseUnavailableError


def test_a_write_to_a_read_only_source_is_permanent(url: str) -> None:
    """A source that was opened for reading refuses a write every time."""
    assert type(explained(url, "INSERT INTO t VALUES (2)", role="source", read_only=True)) is DatabaseRefusedError


def test_a_write_to_a_standby_is_transient(url: str) -> None:
    """A target that is read-only may be a standby during a switch-over."""
    assert type(explained(url, "INSERT INTO t VALUES (2)", role="target", read_only=True)) is DatabaseUnavailableError


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"password": "wrong"}, AuthenticationError, "password authentication failed"),
        ({"password": ""}, AuthenticationError, "no password supplied"),
        ({"username": "nobody"}, AuthenticationError, "password authentication failed"),
        ({"username": "connection_asleep", "password": "sesame"}, AuthenticationError, "not permitted to log in"),
        ({"username": "connection_guest", "password": "sesame"}, DatabaseRefusedError, "permission denied for database"),
        ({"username": "connection_crowd", "password": "sesame"}, DatabaseUnavailableError, "too many connections"),
        ({"database": "nowhere"}, ConfigurationError, 'database "nowhere" does not exist'),
        ({"host": "no.such.host.invalid"}, ConfigurationError, "no.such.host.invalid"),
        ({"port": 1}, DatabaseUnavailableError, "Connection refused"),
        ({"port": 99999}, ConfigurationError, "invalid port number"),
        ({"query": {"colour": "red"}}, ConfigurationError, "colour"),
        ({"query": {"sslmode": "colour"}}, ConfigurationError, "sslmode"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_refused_connection_is_classed_by_its_words(
    url: str, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], error: type[EtlError], said: str
) -> None:
    """Where there is no SQLSTATE, the words of server and library decide, and the message keeps them."""
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    found = explained(make_url(url).set(**changes))  # type: ignore[arg-type]
    assert (type(found), said in found.cause) == (error, True)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg2.OperationalError("server closed the connection unexpectedly"), DatabaseUnavailableError),
        (psycopg2.InterfaceError("connection already closed"), DatabaseUnavailableError),
        (psycopg2.DatabaseError("SSL SYSCALL error: EOF detected"), DatabaseUnavailableError),
        (psycopg2.ProgrammingError("can't adapt type 'dict'"), ConfigurationError),
        (psycopg2.NotSupportedError("not here"), ConfigurationError),
    ],
    ids=repr,
)
def test_without_a_state_only_a_lost_connection_is_transient(error: psycopg2.Error, expected: type[EtlError]) -> None:
    """An error of the driver that has no SQLSTATE is transient only when the connection broke."""
    assert type(explain_error(error, where="t")) is expected


def test_row_values_are_left_out(url: str) -> None:
    """DETAIL, which quotes the row, is not part of the message."""
    found = explained(url, "INSERT INTO t VALUES (-1, 'zz')")
    assert "zz" not in str(found)


def test_a_message_holds_place_cause_and_next_step(url: str) -> None:
    """The message names the place, says what happened and what to do."""
    found = explained(url, "DROP TABLE t")
    assert str(found) == f"the place: {found.cause} Next: drop or alter the dependent objects that PostgreSQL names."


def test_an_error_of_this_project_stays() -> None:
    """An error that is explained already is returned unchanged."""
    error = ConfigurationError("here", "it is wrong.", "mend it.")
    assert explain_error(error, where="there") is error


def test_an_error_of_no_database_is_raised_again() -> None:
    """What no database raised is not hidden."""
    error = KeyError("a")
    with pytest.raises(KeyError) as caught:
        explain_error(error, where="there")
    assert caught.value is error
