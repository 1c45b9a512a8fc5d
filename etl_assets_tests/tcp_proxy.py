"""A TCP proxy between a client and a real server, for failures of the network that a server cannot be asked for.

Not here: what the client makes of them.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

COMMIT = b"Q\0\0\0\x0bCOMMIT\0"
"""What a client of PostgreSQL sends to commit, as it goes over the wire: kind, length, text."""


class Proxy:
    """Forwards connections to a port of loopback, and breaks them as told.

    Args:
        target: Port of the server.

    Attributes:
        port: Where clients connect to.
        connections: Connections that clients made so far.
        broken: Connections that were broken as told.
        refuse: How many of the next connections are closed at once.
        cut_after: The connection is reset once a client has sent so many bytes; once.
        cut_before: The connection is reset when a client sends these bytes, and the server does not get them; once.
        lose_answer_to: When a client sends these bytes, the server gets them, its answer is lost and the connection with it; once.
        hold_before: When a client sends these bytes, `held` is set and they wait until `release`; once.
        held: Bytes are waiting.
        release: They may go on.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.broken = 0
        self.refuse = 0
        self.cut_after: int | None = None
        self.cut_before: bytes | None = None
        self.lose_answer_to: bytes | None = None
        self.hold_before: bytes | None = None
        self.held = threading.Event()
        self.release = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """End all connections, and wait until their threads are gone."""
        self.release.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        _shut(*self._open)
        for thread in self._threads:
            thread.join()

    def forget(self) -> None:
        """Break nothing any more."""
        self.refuse = 0
        self.cut_after = self.cut_before = self.lose_answer_to = self.hold_before = None
        self.release.set()

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name="proxy")
        self._threads = [one for one in self._threads if one.is_alive() or one.ident is None]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refuse:
                self.refuse -= 1
                self.broken += 1
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            self._open = [one for one in self._open if one.fileno() >= 0] + [client, server]
            lost = threading.Event()
            self._start(lambda client=client, server=server, lost=lost: self._from_client(client, server, lost))  # type: ignore[misc]
            self._start(lambda client=client, server=server, lost=lost: self._from_server(client, server, lost))  # type: ignore[misc]

    def _from_client(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                sent += len(data)
                if self.cut_after is not None and sent > self.cut_after:
                    self.cut_after = None
                    self._reset(client, server)
                    return
                if self.cut_before is not None and self.cut_before in data:
                    self.cut_before = None
                    self._reset(client, server)
                    return
                if self.lose_answer_to is not None and self.lose_answer_to in data:
                    self.lose_answer_to = None
                    self.broken += 1
                    lost.set()
                if self.hold_before is not None and self.hold_before in data:
                    self.hold_before = None
                    self.held.set()
                    self.release.wait()
                server.sendall(data)
        _shut(client, server)

    def _from_server(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if lost.is_set():
                    break
                client.sendall(data)
        _shut(client, server)

    def _reset(self, *sockets: socket.socket) -> None:
        self.broken += 1
        for one in sockets:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        _shut(*sockets)


def _shut(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@contextmanager
def proxy_to(target: int) -> Iterator[Proxy]:
    """A proxy in front of a port; it ends with the block."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()


__all__ = ["Proxy", "proxy_to"]
