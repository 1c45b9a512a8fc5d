"""The REST API of the example: a Datasette server over the planes database, on loopback, for as long as it is needed.

Not here: how its pages are read (`connectors/rest.py`).
"""

import json
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etl_assets.errors import LocalServerError
from etl_assets.ports import free_port

START_SECONDS = 60
PAGE_ROWS = 500


@contextmanager
def serve_planes(database: Path, log: Path, port: int | None = None) -> Iterator[str]:
    """Serve the planes while the block runs.

    Args:
        database: SQLite file with the table `planes`.
        log: File for the server's output.
        port: TCP port on 127.0.0.1; None picks a free one.

    Yields:
        The base URL, below which `planes.json` lies.

    Raises:
        LocalServerError: The server did not answer, or somebody else answers on its port.
    """
    port = port or free_port()
    # A title that only our server has: another program on the port is told apart from it.
    title = f"planes {secrets.token_hex(8)}"
    metadata = log.with_suffix(".metadata.json")
    metadata.write_text(json.dumps({"title": title}))
    command = [
        sys.executable, "-m", "datasette", "serve", "--immutable", str(database), "--host", "127.0.0.1", "--port", str(port),
        "--metadata", str(metadata), "--setting", "max_returned_rows", str(PAGE_ROWS), "--setting", "allow_download", "off",
    ]  # fmt: skip
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        base = f"http://127.0.0.1:{port}"
        _wait_until_ours(server, base, title, log)
        yield f"{base}/{database.stem}/"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        metadata.unlink(missing_ok=True)


def _wait_until_ours(server: "subprocess.Popen[bytes]", base: str, title: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise LocalServerError("the planes API", f"Datasette ended at once: {last}", f"the whole log is {log}.")
        try:
            with urllib.request.urlopen(f"{base}/-/metadata.json", timeout=2) as answer:  # noqa: S310 - our own http address
                if json.load(answer).get("title") == title:
                    return
            raise LocalServerError("the planes API", f"another program answers on {base}.", "start it again: it picks a free port.")
        except (urllib.error.URLError, ValueError, OSError):
            time.sleep(0.1)
    raise LocalServerError("the planes API", f"it did not answer within {START_SECONDS} s.", f"the log is {log}.")


__all__ = ["serve_planes"]
