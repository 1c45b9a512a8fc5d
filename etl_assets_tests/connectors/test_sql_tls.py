"""Whose certificate is verified: nobody's on this machine, everybody else's, unless the URL or the resource says otherwise.

A host that is somewhere else is played by `hostaddr`, which tells libpq the address of a name. MariaDB, and PostgreSQL with a
certificate of its own authority, are tested in `acceptance/`.
"""

import ssl

import pytest
from sqlalchemy.engine import URL, make_url

from etl_assets.connectors.databases.mysql import MysqlDatabase
from etl_assets.connectors.databases.postgresql import PostgresqlDatabase
from etl_assets.connectors.databases.session import SessionSettings
from etl_assets.connectors.sql import SqlResource
from etl_assets.errors import ConfigurationError
from etl_assets.local_postgres import LocalPostgres
from etl_assets.retry_settings import NO_RETRY
from etl_assets.tls import Tls, TlsSettings


def settings_of(tls: Tls) -> SessionSettings:
    return SessionSettings(application_name="test", statement_timeout_seconds=0, tls=TlsSettings(tls=tls))


# -- which hosts --------------------------------------------------------------------------------------------------------

HOSTS = [
    (None, False), ("", False), ("/var/run/postgresql", False), ("localhost", False), ("LocalHost", False), ("127.0.0.1", False),
    ("127.1.2.3", False), ("::1", False), ("[::1]", False), ("10.0.0.1", True), ("192.168.1.1", True), ("0.0.0.0", True),
    ("2001:db8::1", True), ("db.example.com", True), ("localhost.example.com", True), ("127.0.0.1.example.com", True),
    ("localhost,db.example.com", True),
]  # fmt: skip


@pytest.mark.parametrize(("host", "remote"), HOSTS)
def test_a_remote_host_is_verified(host: str | None, remote: bool) -> None:
    """By default every host is verified that is not this machine by its name or address."""
    assert TlsSettings().verifies(host) is remote


@pytest.mark.parametrize(("tls", "verifies"), [("verified", True), ("unverified", False)])
@pytest.mark.parametrize("host", [host for host, _ in HOSTS])
def test_all_hosts_or_none_are_verified_when_that_is_said(host: str | None, tls: Tls, verifies: bool) -> None:
    """The resource may say that every host is verified, this machine too, or none."""
    assert TlsSettings(tls=tls).verifies(host) is verifies


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("postgresql://localhost/db", False),
        ("postgresql://db.example.com/db", True),
        ("postgresql:///db", False),
        ("postgresql:///db?host=/var/run/postgresql", False),
        ("postgresql:///db?host=localhost:5433", False),
        ("postgresql:///db?host=db.example.com", True),
        ("postgresql:///db?host=db.example.com:5433", True),
        ("postgresql:///db?host=localhost&host=db.example.com", True),
        ("postgresql:///db?host=localhost,db.example.com", True),
        ("postgresql:///db?host=::1", False),
        ("postgresql://localhost/db?host=db.example.com", True),
        ("mysql:///db?host=db.example.com", True),
    ],
)
def test_a_host_among_the_options_counts(url: str, remote: bool) -> None:
    """A driver that takes its host as an option connects there, so that one is verified too."""
    assert TlsSettings().verifies_any(make_url(url)) is remote


# -- PostgreSQL ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def far_away(postgres_server: LocalPostgres) -> URL:
    """The embedded server, which has no TLS, under a name that is not this machine's."""
    return make_url(postgres_server.url()).set(host="db.example.com").update_query_dict({"hostaddr": "127.0.0.1"})


def reached(url: URL, tls: Tls = "verified_remote") -> bool:
    """Whether a query is answered."""
    source = SqlResource(url=url.render_as_string(hide_password=False), retry=NO_RETRY, tls=tls)
    return source.read_query("SELECT 1 AS v")["v"].tolist() == [1]


def test_postgresql_a_remote_server_without_tls_is_refused(far_away: URL) -> None:
    """A password is never sent to a remote server that proves nothing."""
    with pytest.raises(ConfigurationError, match="server does not support SSL"):
        reached(far_away)


def test_postgresql_a_remote_host_among_the_options_is_refused_too(far_away: URL) -> None:
    """The same for a host that is given as an option."""
    options = {"host": "db.example.com", "port": str(far_away.port)}
    with pytest.raises(ConfigurationError, match="server does not support SSL"):
        reached(far_away.set(host=None, port=None).update_query_dict(options))


@pytest.mark.parametrize("mode", ["disable", "prefer"])
def test_postgresql_a_mode_in_the_url_stands(far_away: URL, mode: str) -> None:
    """Whoever writes a mode into the URL has decided."""
    assert reached(far_away.update_query_dict({"sslmode": mode}))


def test_postgresql_unverified_leaves_it_to_the_driver(far_away: URL) -> None:
    """Where the network is trusted, a remote server without TLS can be reached."""
    assert reached(far_away, "unverified")


def test_postgresql_this_machine_is_reached_without_tls(postgres_server: LocalPostgres) -> None:
    """A server on this machine needs no certificate by default."""
    assert reached(make_url(postgres_server.url()))


def test_postgresql_this_machine_is_verified_when_that_is_said(postgres_server: LocalPostgres) -> None:
    """`verified` counts for this machine too."""
    with pytest.raises(ConfigurationError, match="server does not support SSL"):
        reached(make_url(postgres_server.url()), "verified")


@pytest.mark.parametrize(
    ("url", "ca_file", "options"),
    [
        ("postgresql://db.example.com/db", None, {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("postgresql://db.example.com/db", "/etc/our.pem", {"sslmode": "verify-full", "sslrootcert": "/etc/our.pem"}),
        ("postgresql://db.example.com/db?sslrootcert=/etc/theirs.pem", "/etc/our.pem",
         {"sslmode": "verify-full", "sslrootcert": "/etc/theirs.pem"}),
        ("postgresql://db.example.com/db?sslmode=require", "/etc/our.pem", {"sslmode": "require"}),
        ("postgresql://localhost/db", "/etc/our.pem", {}),
    ],
)  # fmt: skip
def test_postgresql_a_remote_server_is_verified_in_full(url: str, ca_file: str | None, options: dict[str, str]) -> None:
    """Name and signature are verified, by the authorities of the system or those of the file; what the URL says stands."""
    settings = SessionSettings(application_name="test", statement_timeout_seconds=0, tls=TlsSettings(ca_file=ca_file))
    assert dict(PostgresqlDatabase(make_url(url), settings)._url.query) == options


# -- MySQL and MariaDB --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "tls", "verified"),
    [
        ("mysql://db.example.com/db", "verified_remote", True),
        ("mysql:///db?host=db.example.com", "verified_remote", True),
        ("mysql://127.0.0.1/db", "verified_remote", False),
        ("mysql://127.0.0.1/db", "verified", True),
        ("mysql://db.example.com/db", "unverified", False),
        ("mysql://db.example.com/db?ssl_disabled=true", "verified_remote", False),
    ],
)
def test_mysql_a_remote_server_is_verified_in_full(url: str, tls: Tls, verified: bool) -> None:
    """The driver gets a context that verifies name and signature, unless the URL says anything about TLS itself."""
    context = MysqlDatabase(make_url(url), settings_of(tls))._connect_arguments().get("ssl")
    assert (context is not None and context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED) is verified


def test_mysql_a_file_of_authorities_that_is_missing_is_an_error() -> None:
    """A file that cannot be read is an error of configuration before anything is sent."""
    settings = SessionSettings(
        application_name="test", statement_timeout_seconds=0, tls=TlsSettings(tls="verified", ca_file="/no/such.pem")
    )
    with pytest.raises(ConfigurationError, match=r"tls_ca_file.*No such file"):
        MysqlDatabase(make_url("mysql://localhost/db"), settings)._connect_arguments()
