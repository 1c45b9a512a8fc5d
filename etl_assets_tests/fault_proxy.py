"""An HTTP server of ours that misbehaves on purpose, one scripted answer per request, alone or in front of a real server.

    with FaultServer(in_turn({"/rows": [Reply(status=503), Reply(body=b"[]")]})) as server: ...
    with FaultServer(behind(upstream, [reset_after(100), None])) as proxy: ...

It runs on a free port of loopback and notes every byte it is sent. Not here: servers that behave (`httpbin_server.py`, `acceptance/`).
"""

import contextlib
import datetime
import gzip
import io
import ipaddress
import json
import os
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request.

    Attributes:
        method: HTTP method.
        target: Path with its query, as it was sent.
        headers: Names in lower case.
        body: Of a POST.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """Path without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """Query parameters, decoded."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer, and what is wrong with it.

    Attributes:
        status: HTTP status.
        body: What is sent, as it goes over the wire.
        headers: Headers beside those about the length.
        promised: Content-Length, when it differs from the length of the body; -1 for no length and no chunks: the end of the
            connection is the end of the body.
        chunked: Sent in two chunks instead of with a Content-Length.
        cut_after: The connection ends after so many bytes of the body; None lets everything pass.
        cut_by: How it ends: "close" (FIN) or "reset" (RST).
        drip_seconds: Pause after each byte of the body.
        drips_head: Status line and headers drip too.
        before: Sent before the status line, such as interim answers.
        head: Status line and headers as they go over the wire, in place of the proper ones.
    """

    status: int = 200
    body: bytes = b"[]"
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int | None = None
    chunked: bool = False
    cut_after: int | None = None
    cut_by: str = "close"
    drip_seconds: float = 0.0
    drips_head: bool = False
    before: Iterable[bytes] = ()
    head: bytes | None = None


Script = Callable[[Asked], Reply]
Fault = Callable[[Reply], Reply]


def answer(document: Any, **more: Any) -> Reply:
    """A JSON document; `more` are fields of `Reply`."""
    return Reply(body=json.dumps(document).encode(), **more)


def in_turn(replies: Mapping[str, Reply | Sequence[Reply]]) -> Script:
    """The replies for each path (with its query), one after the other, the last one for ever; 404 for other paths."""
    left = {path: [given] if isinstance(given, Reply) else list(given) for path, given in replies.items()}

    def script(asked: Asked) -> Reply:
        due = left.get(asked.target, [Reply(status=404)])
        return due.pop(0) if len(due) > 1 else due[0]

    return script


def behind(upstream: str, faults: Iterable[Fault | None] = (), *, afterwards: Fault | None = None) -> Script:
    """What a real server answers, with one fault per request; None for none.

    Args:
        upstream: Origin of the real server.
        faults: For the first requests, in their order.
        afterwards: For all requests after those.
    """
    due = iter(faults)

    def script(asked: Asked) -> Reply:
        with requests.Session() as session:
            session.trust_env = False
            # Absolute links of the real server shall lead to us.
            headers = {name: asked.headers[name] for name in ("host", "accept", "authorization") if name in asked.headers}
            theirs = session.request(
                asked.method, f"{upstream}{asked.target}", headers=headers, data=asked.body, allow_redirects=False, timeout=10
            )
        kept = {name: value for name, value in theirs.headers.items() if name.lower() in ("content-type", "link", "location")}
        reply = Reply(status=theirs.status_code, body=theirs.content, headers=kept)
        fault = next(due, afterwards)
        return reply if fault is None else fault(reply)

    return script


# -- faults of any answer ----------------------------------------------------------------------------------------------


def reset_after(size: int) -> Fault:
    """The connection is reset after so many bytes of the body."""
    return lambda reply: replace(reply, cut_after=size, cut_by="reset")


def closed_after(size: int) -> Fault:
    """The connection is closed in an orderly way after so many bytes of the body, which promised more."""
    return lambda reply: replace(reply, cut_after=size)


def chunks_cut_after(size: int) -> Fault:
    """The body comes in chunks, and the last one never comes."""
    return lambda reply: replace(reply, chunked=True, cut_after=size)


def dripping(seconds: float, *, head: bool = False) -> Fault:
    """The body comes byte by byte; the head too when that is said."""
    return lambda reply: replace(reply, drip_seconds=seconds, drips_head=head)


def promising(more: int) -> Fault:
    """Content-Length is larger than the body, or smaller when `more` is negative."""
    return lambda reply: replace(reply, promised=len(reply.body) + more)


def compressed(reply: Reply) -> Reply:
    """The body goes over the wire as gzip."""
    return replace(reply, body=gzip.compress(reply.body), headers={**reply.headers, "Content-Encoding": "gzip"})


# -- the server --------------------------------------------------------------------------------------------------------


class FaultServer:
    """Answers by a script, on loopback, from construction until the end of the `with` block.

    Attributes:
        asked: Requests, in the order in which they were read.
        received: Every byte that arrived, whether or not it was a request.
        connections: How many were accepted.
        origin: Scheme, host and port.

    Args:
        script: Says what is answered to a request.
        tls: Serve https.
        name: Host in `origin`.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> None:
        self.asked: list[Asked] = []
        self.received = bytearray()
        self.connections = 0
        self._script = script
        self._ended = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            # The handshake is left to the thread of the connection.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.origin = f"{'http' if tls is None else 'https'}://{name}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.002,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def targets(self) -> list[str]:
        """Path and query of each request."""
        return [asked.target for asked in self.asked]

    def reply(self, asked: Asked) -> Reply:
        """Note a request and look up its answer."""
        self.asked.append(asked)
        return self._script(asked)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the server."""
        self._ended.wait(seconds)

    @property
    def ended(self) -> bool:
        """Whether the `with` block has ended."""
        return self._ended.is_set()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or does not trust us, is what tests want."""


class _Tap(io.RawIOBase):
    """Notes what is read."""

    def __init__(self, source: Any, seen: bytearray) -> None:
        self._source = source
        self._seen = seen

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._source.readinto(buffer)
        self._seen += bytes(buffer[:count])
        return count

    def close(self) -> None:
        self._source.close()
        super().close()


def _handler(outer: FaultServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            outer.connections += 1
            self.rfile.close()
            self.rfile = io.BufferedReader(_Tap(self.connection.makefile("rb", 0), outer.received))

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, body: bytes) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = outer.reply(Asked(method=self.command, target=self.path, headers=headers, body=body))
            with contextlib.suppress(OSError):
                self._send(reply)

        def _send(self, reply: Reply) -> None:
            for piece in reply.before:
                if outer.ended:
                    return
                self.wfile.write(piece)
            head = self._head(reply) if reply.head is None else reply.head
            self._write(head, reply.drip_seconds if reply.drips_head else 0.0)
            whole = _in_chunks(reply.body) if reply.chunked else reply.body
            self._write(whole if reply.cut_after is None else whole[: reply.cut_after], reply.drip_seconds)
            if reply.cut_after is not None and reply.cut_by == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
            surprising = reply.cut_after is not None or reply.promised is not None or reply.head is not None
            self.close_connection = self.close_connection or surprising

        def _head(self, reply: Reply) -> bytes:
            length = len(reply.body) if reply.promised is None else reply.promised
            headers = dict(reply.headers)
            if reply.chunked:
                headers["Transfer-Encoding"] = "chunked"
            elif length >= 0:
                headers["Content-Length"] = str(length)
            words = self.responses[reply.status][0] if reply.status in self.responses else "Odd"
            lines = [f"HTTP/1.1 {reply.status} {words}", *(f"{name}: {value}" for name, value in headers.items())]
            return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()

        def _write(self, data: bytes, drip_seconds: float) -> None:
            for piece in (data[place : place + 1] for place in range(len(data))) if drip_seconds else [data]:
                if outer.ended:
                    return
                self.wfile.write(piece)
                if drip_seconds:
                    outer.pause(drip_seconds)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _in_chunks(body: bytes) -> bytes:
    half = len(body) // 2
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:half], body[half:]) if piece) + b"0\r\n\r\n"


# -- what tests of connections need besides ----------------------------------------------------------------------------


def within(seconds: float, function: Callable[[], Result]) -> Result:
    """What the function returns or raises; AssertionError when it takes longer, so that what hangs is a failed test."""
    outcome: queue.Queue[Callable[[], Result]] = queue.Queue()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:
            outcome.put(lambda error=error: _raise(error))  # type: ignore[misc]
        else:
            outcome.put(lambda: result)

    threading.Thread(target=run, daemon=True).start()
    try:
        said = outcome.get(timeout=seconds)
    except queue.Empty:
        raise AssertionError(f"it still hangs after {seconds} s") from None
    return said()


def _raise(error: BaseException) -> Any:
    raise error


def self_signed(folder: Path, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context, with a certificate for an address or a host that it signed itself, and the PEM file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server of the tests")])
    known = x509.IPAddress(ipaddress.ip_address(name)) if name[:1].isdigit() else x509.DNSName(name)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([known]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key_pem)
    return context, pem


__all__ = [
    "Asked", "Fault", "FaultServer", "Reply", "Script", "answer", "behind", "chunks_cut_after", "closed_after", "compressed", "dripping",
    "in_turn", "promising", "reset_after", "self_signed", "within",
]  # fmt: skip
