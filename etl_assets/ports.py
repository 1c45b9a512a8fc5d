"""TCP ports on loopback, for the servers that are started here.

Not here: the servers themselves.
"""

import socket


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


__all__ = ["free_port"]
