"""Which host is this machine, and which addresses are not for links that came from data.

Not here: connections.
"""

import ipaddress


def is_local(host: str | None) -> bool:
    """Whether a host is this machine: no host, a socket's folder, localhost, a loopback address."""
    if not host or host.startswith("/") or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether an IP address is reachable for everybody: not private, loopback, link-local, multicast or reserved."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global and not found.is_multicast


__all__ = ["is_local", "is_public"]
