"""Which host is this machine, and which addresses are not for links that came from data.

Not here: connections.
"""

import ipaddress

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


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
    looked_at: list[ipaddress.IPv4Address] | list[ipaddress.IPv4Address | ipaddress.IPv6Address] = _inside(found) or [found]
    return all(one.is_global and not one.is_multicast for one in looked_at)


def _inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address of a transition leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    behind_nat64 = ipaddress.IPv4Address(address.packed[-4:]) if address in _NAT64 else None
    found = [address.ipv4_mapped, address.sixtofour, behind_nat64, *(address.teredo or ())]
    return [one for one in found if one is not None]


__all__ = ["is_local", "is_public"]
