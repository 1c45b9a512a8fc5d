"""A TCP proxy between a client and a real server, for failures of the network that a server cannot be asked for.

Not here: what the client makes of them.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Proxy:
    """Forwards connections to a port of loopback, and breaks them as told.

    Args:
        target: Port of the server.

    Attributes:
        port: Where clients connect to.
        connections: Connections that clients made so far.
        refuse: How many of the next connections are closed at once.
        lose_answer_to: When a client sends these bytes, the server gets them, its answer is lost and the connection with it; once.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.refuse = 0
        self.lose_answer_to: bytes | None = None
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """End all connections, and wait until their threads are gone."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        _shut(*self._open)
        for thread in self._threads:
            thread.join()

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name="proxy")
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
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            lost = threading.Event()
            self._start(lambda client=client, server=server, lost=lost: self._from_client(client, server, lost))  # type: ignore[misc]
            self._start(lambda client=client, server=server, lost=lost: self._from_server(client, server, lost))  # type: ignore[misc]

    def _from_client(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.lose_answer_to is not None and self.lose_answer_to in data:
                    self.lose_answer_to = None
                    lost.set()
                server.sendall(data)
        _shut(client, server)

    def _from_server(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if lost.is_set():
                    break
                client.sendall(data)
        _shut(client, server)


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
