"""When the certificate of a database server is verified, and how a PostgreSQL URL says so.

Without a word drivers take an unverified or a plain connection, so a resource verifies unless the server is on this machine.

Not here: HTTP (`connectors/connections.py`), the drivers themselves.
"""

from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy.engine import URL

from etl_assets.hosts import is_local

Tls = Literal["verified_remote", "verified", "unverified"]
TLS_SAYS: Final = (
    '"verified_remote" verifies the certificate of a server unless it is on this machine, "verified" always, "unverified" never. '
    "Options of TLS in the URL come first."
)
CA_FILE_SAYS: Final = "PEM file of the authorities to trust; None for those of the system."


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """Which certificates are verified, and by whom they must be signed.

    Attributes:
        tls: "verified_remote" verifies the server's certificate unless it is on this machine, "verified" always, "unverified" leaves
            it to the driver.
        ca_file: Certificates of the authorities to trust, as PEM; None for those of the system.
    """

    tls: Tls = "verified_remote"
    ca_file: str | None = None

    def verifies(self, host: str | None) -> bool:
        """Whether the certificate of this host must be verified."""
        return self.tls == "verified" or (self.tls == "verified_remote" and not is_local(host))

    def verifies_any(self, url: URL) -> bool:
        """Whether the certificate of a host of this URL must be verified; drivers take hosts as an option too."""
        named = url.query.get("host", ())
        listed = [host for text in ([named] if isinstance(named, str) else named) for host in text.split(",")]
        return any(self.verifies(host) for host in [url.host, *(_without_port(host) for host in listed)])

    def for_libpq(self, url: URL) -> URL:
        """A PostgreSQL URL that verifies where it has to; what it says about TLS itself stands."""
        if not self.verifies_any(url) or "sslmode" in url.query:
            return url
        authorities = {} if "sslrootcert" in url.query else {"sslrootcert": self.ca_file or "system"}
        return url.update_query_dict({"sslmode": "verify-full", **authorities})


def _without_port(host: str) -> str:
    return host.partition(":")[0] if host.count(":") == 1 else host


__all__ = ["CA_FILE_SAYS", "TLS_SAYS", "Tls", "TlsSettings"]
