"""Definitions of a project, imported before Airflow forks its tasks, for as long as they are what a task would import itself.

`keep` imports them and remembers what they were made of: the files of the modules, and the files and folders that Python code read.
When one has changed since, or when the import left something that forks must not share, `outdated` says so, and the task runs in a new
interpreter: a process that has seen an older version of a project does not run it.

Not here: who asks (`preload.py`, `launcher.py`), what runs (`runner.py`). Imports no airflow.
"""

import contextlib
import functools
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository

_Stamp = tuple[int, int, int, int] | None
_LIBRARIES = tuple(f"{sysconfig.get_path(kind)}{os.sep}" for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
_OF_THE_SYSTEM = ("/proc/", "/sys/", "/dev/")
_ASKS_ELSEWHERE = {
    "socket.connect": "opens a connection",
    "sqlite3.connect": "opens a database",
    "subprocess.Popen": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.system": "starts a process",
    "os.fork": "starts a process",
    "os.forkpty": "starts a process",
}


@dataclass
class _Seen:
    """What code did while somebody listened.

    Attributes:
        read: Files that it opened to read and folders that it listed.
        asked: Where else it got something from.
    """

    read: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit event (https://docs.python.org/3/library/audit_events.html)."""
        if event in _ASKS_ELSEWHERE:
            self.asked.add(_ASKS_ELSEWHERE[event])
        elif event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and not (flags or 0) & os.O_WRONLY:
                self._add(path)
        elif event in ("os.listdir", "os.scandir"):
            (path,) = arguments
            if not isinstance(path, int):
                self._add(path or ".")

    def _add(self, path: str | bytes | os.PathLike[Any]) -> None:
        # What is raised here would break off the import.
        with contextlib.suppress(OSError, ValueError):
            self.read.add(str(Path(os.fsdecode(path)).absolute()))


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Definitions that were imported here.

    Attributes:
        repository: They, as Dagster runs them; None where that failed.
        stamps: What they were made of, as it was.
        reason: Why no task may use them; "" for none.
    """

    repository: dg.RepositoryDefinition | None = None
    stamps: Mapping[str, _Stamp] = field(default_factory=dict)
    reason: str = ""


_KEPT: dict[tuple[str, str], _Kept] = {}
_LISTENS: list[_Seen] = []


def keep(module: str, attribute: str) -> str:
    """Import the definitions of a project, and resolve its jobs, in this process and so for all that it forks.

    Returns:
        Why tasks will not use them, but import the project anew, each in a new interpreter; "" when they will.
    """
    begun, threads, opened = time.time_ns(), set(threading.enumerate()), _opened()
    try:
        with _listening() as seen:
            repository = ReconstructableRepository.for_module(module, attribute, str(Path.cwd())).get_definition()
            for job in repository.get_all_jobs():
                _ = job.run_config_schema
        own = {str(spec.origin) for one in list(sys.modules.values()) if (spec := getattr(one, "__spec__", None)) and spec.has_location}
        stamps = {path: _stamp(path) for path in {*seen.read, *own} if not _is_foreign(path)}
        wrong = sorted({*seen.asked, *(f"leaves the thread {one.name}" for one in set(threading.enumerate()) - threads)})
        wrong += [f"leaves {what} open" for what in sorted(_opened() - opened)]
        # A file that is written at this moment may be another one than the one that was read; folders change with the bytecode in them.
        wrong += [
            f"reads {path}, which is being written" for path, stamp in stamps.items() if _is_newer(stamp, begun) and Path(path).is_file()
        ]
    except (Exception, SystemExit) as error:
        # For the task to say, whose interpreter has the same error.
        kept = _Kept(reason=f"the definitions of {module} could not be imported ({error}).")
    else:
        kept = _Kept(repository=repository, stamps=stamps, reason=f"the import of {module} {', '.join(wrong)}." if wrong else "")
    _KEPT[module, attribute] = kept
    return kept.reason


def outdated() -> str:
    """Why this process must not run any project: it has imported one that has changed since, or in a way that forks cannot share."""
    for (module, _), kept in _KEPT.items():
        if kept.reason:
            return kept.reason
        for path, stamp in kept.stamps.items():
            if _stamp(path) != stamp:
                return f"{path}, which the definitions of {module} are made of, has changed since they were imported."
    return ""


def repository(module: str, attribute: str) -> dg.RepositoryDefinition | None:
    """Definitions that are kept; None for others."""
    kept = _KEPT.get((module, attribute))
    return None if kept is None else kept.repository


def _stamp(path: str) -> _Stamp:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _is_newer(stamp: _Stamp, moment: int) -> bool:
    return stamp is not None and max(stamp[:2]) >= moment


def _is_foreign(path: str) -> bool:
    """Part of the system or of a library, which is installed anew together with the process."""
    return path.startswith((*_LIBRARIES, *_OF_THE_SYSTEM)) or "__pycache__" in path


def _opened() -> set[str]:
    """Files, pipes and sockets that this process has open, those of libraries in C too; forks share them, and the place in them."""
    found = set()
    with contextlib.suppress(OSError):
        for opened in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(opened.readlink()))
    return {what for what in found if not what.startswith((*_OF_THE_SYSTEM, "anon_inode:"))}


@contextlib.contextmanager
def _listening() -> Iterator[_Seen]:
    seen = _Seen()
    _hear()
    _LISTENS.append(seen)
    try:
        yield seen
    finally:
        _LISTENS.remove(seen)


@functools.cache
def _hear() -> None:
    """Once for good: Python has no way to take a hook away."""
    sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    for seen in _LISTENS:
        seen.hear(event, arguments)


__all__ = ["keep", "outdated", "repository"]
