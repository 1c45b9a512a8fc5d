"""Files below one base folder, on this machine or at an fsspec URL (s3://, gs://, sftp://, memory:// ...).

A path or a glob leads to files inside the folder and nowhere else. A remote file is copied here first, on disk from a certain size
on, so that the unit of retry is a file. Caps stand on its size, packed and unpacked.

Not here: how compressed files are unpacked (`unpacking.py`), what the bytes mean (`files.py`, `excel.py`).
"""

import contextlib
import fnmatch
import hashlib
import io
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import fsspec

from etl_assets.connectors.unpacking import PIECE_BYTES, unpack, unreadable
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError, SourceUnavailableError
from etl_assets.retry import RetryPolicy

_SPOOL_BYTES = 64 * 2**20
_LOST_CONNECTION = re.compile(r"connect|timeout|ssh|incompleteread|payload|streaming|protocol", re.IGNORECASE)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "sftp": "sftp", "ssh": "sftp"}
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file.

    Attributes:
        name: Relative to the base folder, for positions.
        where: Whole address without secrets, for errors.
        location: As its file system knows it.
    """

    name: str
    where: str
    location: str


class Storage:
    """The files below one base folder.

    Args:
        base_folder: A folder, or an fsspec URL of one.
        options: What fsspec needs to open it, such as keys; may hold secrets.
        most_bytes: Largest file, packed and unpacked.
        policy: For a store across a network.
    """

    def __init__(self, base_folder: str, *, options: Mapping[str, Any], most_bytes: int, policy: RetryPolicy) -> None:
        self._most_bytes = most_bytes
        self._policy = policy
        self._remote: Any = None
        if re.match(r"^[A-Za-z][A-Za-z0-9+.-]+://", base_folder) and not base_folder.startswith("file://"):
            # User, password and parameters of an address may be secrets.
            self._shown = re.sub(r"(?<=://)[^/?#]*@|[?#].*", "", base_folder).rstrip("/")
            self._remote, self._root = self._connect(base_folder, options)
        else:
            self._base = Path(base_folder.removeprefix("file://"))
            self._shown = str(self._base)

    def find(self, path: str, *, may_be_none: bool = False) -> list[StoredFile]:
        """The files that a path or a glob such as "2026/*.csv" names, sorted by name.

        Raises:
            ConfigurationError: The path leads out of the folder, by `..`, a link or an absolute name.
            SourceNotFoundError: There is no such file, and the message lists the folder; not for a glob that may name none.
            SourceUnavailableError: The store does not answer.
        """
        glob = bool(_GLOB.search(path))
        found = self._find_remote(path, glob) if self._remote is not None else self._find_local(path, glob)
        if not found and not (glob and may_be_none):
            cause = "no file has such a name" if glob else "there is no such file"
            written = " (in a name, [ is written [[])" if "[" in path else ""
            raise SourceNotFoundError(
                f"{self._shown}/{path}", f"{cause}; present: {self._present(path)}.", f"correct the path{written}, or deliver the file."
            )
        return found

    @contextlib.contextmanager
    def open(self, file: StoredFile) -> Iterator[BinaryIO]:
        """The bytes of a file, as stored; seekable.

        Raises:
            SourceNotFoundError: It cannot be read, for want of permission or by a fault of the disk.
            SourceUnavailableError: The store does not answer after all attempts.
            SourceFormatError: It is larger than allowed.
        """
        if self._remote is None:
            try:
                opened: BinaryIO = Path(file.location).open("rb")  # noqa: SIM115 - closed below
            except OSError as error:
                raise unreadable(file.where, error) from error
        else:
            opened = self._policy.call(lambda: self._copy(file), doing=f"reading {file.where}")
        with opened:
            size = opened.seek(0, io.SEEK_END)
            opened.seek(0)
            self._refuse_large(size, file.where)
            yield opened

    @contextlib.contextmanager
    def unpacked(self, file: StoredFile) -> Iterator[BinaryIO]:
        """The bytes of a file, as `unpack` gives them; errors as `open` and `unpack`."""
        with self.open(file) as opened, self.unpack(opened, file) as plain:
            yield plain

    @contextlib.contextmanager
    def unpack(self, opened: BinaryIO, file: StoredFile) -> Iterator[BinaryIO]:
        """The bytes of an open file, unpacked where it is gzip, bzip2, xz, zstd, or a zip archive of one file; read to the end once.

        Raises:
            SourceFormatError: It cannot be unpacked, or an archive holds several files; while reading: it grows beyond what is allowed.
            SourceNotFoundError: While reading: a fault of the disk.
        """
        with unpack(opened, most_bytes=self._most_bytes, where=file.where) as plain:
            yield plain

    # -- local ------------------------------------------------------------------------------------------------------

    def _find_local(self, path: str, glob: bool) -> list[StoredFile]:
        try:
            base = self._base.resolve()
            if not glob:
                file = (base / path).resolve()
                self._refuse_outside(file.is_relative_to(base), path)
                return [_local(base, file, path)] if file.is_file() else []
            self._refuse_outside(not path.startswith("/") and ".." not in PurePosixPath(path).parts, path)
            found = []
            for name in sorted({str(named.relative_to(base)) for named in base.glob(path)}):
                file = (base / name).resolve()
                self._refuse_outside(file.is_relative_to(base), name)
                if file.is_file():
                    found.append(_local(base, file, name))
            return found
        except (OSError, RuntimeError, ValueError, NotImplementedError) as error:  # forbidden or too long, a circle of links, NUL
            reason = getattr(error, "strerror", None) or error
            raise SourceNotFoundError(
                f"{self._base}/{path}",
                f"the path cannot be followed ({reason}).",
                "correct it, or give this user access to its folder.",
            ) from error

    def _refuse_outside(self, inside: bool, path: str) -> None:
        if not inside:
            raise ConfigurationError(
                path, f"the path leads out of the folder {self._shown}.", "name a file inside it, or set another folder."
            )

    def _present(self, path: str) -> Any:
        parent = str(PurePosixPath(path).parent)
        parent = "." if _GLOB.search(parent) else parent
        try:
            if self._remote is not None:
                return sorted(PurePosixPath(item).name for item in self._remote.ls(self._joined(parent), detail=False))[:10]
            folder = (self._base / parent).resolve()
            return sorted(item.name for item in folder.iterdir())[:10] if folder.is_dir() else "the folder is missing too"
        except Exception:
            return "the folder cannot be listed"

    # -- remote -----------------------------------------------------------------------------------------------------

    def _connect(self, base_folder: str, options: Mapping[str, Any]) -> tuple[Any, str]:
        scheme = base_folder.partition("://")[0]
        try:
            remote, root = fsspec.core.url_to_fs(base_folder, **options)
        except ImportError as error:
            extra = _EXTRAS.get(scheme)
            install = f"pip install 'etl-assets[{extra}]'" if extra else f"install what fsspec needs for {scheme}"
            raise ConfigurationError(self._shown, f"files at {scheme}:// need another package.", f"{install}.") from error
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                self._shown,
                f"the address or its options cannot be used ({type(error).__name__}).",
                "correct base_folder and storage_options.",
            ) from None  # it may quote them
        except Exception as error:
            raise self._unavailable(self._shown, error) from None
        return remote, str(root).rstrip("/")

    def _joined(self, path: str) -> str:
        return self._root if path in ("", ".") else f"{self._root}/{path}"

    def _find_remote(self, path: str, glob: bool) -> list[StoredFile]:
        self._refuse_outside(not path.startswith("/") and ".." not in PurePosixPath(path).parts and "://" not in path, path)

        def find() -> list[str]:
            # Not its `isfile` and `glob`: they take a store that does not answer for one without such a file.
            try:
                self._remote.invalidate_cache()
                if glob:
                    return sorted(set(self._matching(self._root, PurePosixPath(path).parts)))
                location = self._joined(path)
                return [location] if self._remote.info(location)["type"] == "file" else []
            except (FileNotFoundError, NotADirectoryError):
                return []
            except Exception as error:
                raise self._unavailable(f"{self._shown}/{path}", error) from None

        found = self._policy.call(find, doing=f"listing {self._shown}/{path}")
        return [self._stored(location) for location in found]

    def _matching(self, folder: str, parts: tuple[str, ...]) -> Iterator[str]:
        """Files below a folder whose names match the parts of a glob, as pathlib matches them."""
        first, rest = parts[0], parts[1:]
        if rest and not _GLOB.search(first):
            yield from self._matching(f"{folder}/{first}", rest)
            return
        if first == "**" and rest:
            yield from self._matching(folder, rest)
        for location, kind in self._listed(folder):
            if first == "**":
                if kind == "directory" and rest:
                    yield from self._matching(location, parts)
            elif fnmatch.fnmatchcase(posixpath.basename(location), first):
                if rest and kind == "directory":
                    yield from self._matching(location, rest)
                elif not rest and kind == "file":
                    yield location

    def _listed(self, folder: str) -> list[tuple[str, str]]:
        """Location and kind of what lies in a folder; none where there is no folder."""
        try:
            entries = self._remote.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        found = [(str(entry["name"]).rstrip("/"), str(entry["type"])) for entry in entries]
        # A web page lists links to anywhere, a bucket the folder itself.
        return [(name, kind) for name, kind in found if posixpath.dirname(name).strip("/") == folder.strip("/")]

    def _stored(self, location: str) -> StoredFile:
        root = self._root.lstrip("/")
        name = location.lstrip("/").removeprefix(root).lstrip("/")
        return StoredFile(name=name, where=f"{self._shown}/{name}", location=location)

    def _copy(self, file: StoredFile) -> BinaryIO:
        copied: Any = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
        try:
            size = 0
            with self._remote.open(file.location, "rb") as source:
                while piece := source.read(PIECE_BYTES):
                    size += len(piece)
                    self._refuse_large(size, file.where)
                    copied.write(piece)
                promised = getattr(source, "size", None)
            if isinstance(promised, int) and size < promised:
                raise SourceUnavailableError(file.where, f"only {size} of {promised} bytes arrived.", "try again.")
        except EtlError:
            copied.close()
            raise
        except Exception as error:
            copied.close()
            raise self._unavailable(file.where, error) from None
        return cast("BinaryIO", copied)

    def _unavailable(self, where: str, error: Exception) -> EtlError:
        """Errors of a store: each library has its own classes, those of the system tell the rest.

        Its words may quote addresses with keys, so only its kind is told, and it is raised `from None`.
        """
        kind = type(error).__name__
        kinds = " ".join(class_.__name__ for class_ in type(error).__mro__)
        if isinstance(error, FileNotFoundError):
            return SourceNotFoundError(where, "there is no such file.", "correct the path.")
        if isinstance(error, PermissionError) or "Credential" in kinds or "Authentication" in kinds:
            return ConfigurationError(where, f"the store refused access ({kind}).", "check keys and rights of storage_options.")
        if isinstance(error, IsADirectoryError | NotADirectoryError):
            return SourceNotFoundError(where, "there is no such file, but a folder.", "correct the path.")
        if isinstance(error, OSError) or _LOST_CONNECTION.search(kinds):
            return SourceUnavailableError(where, f"the store does not answer ({kind}).", "check that it is reachable.")
        return SourceNotFoundError(where, f"the file cannot be read ({kind}).", "check the address and storage_options.")

    def _refuse_large(self, size: int, where: str) -> None:
        if size > self._most_bytes:
            raise SourceFormatError(where, f"the file is larger than {self._most_bytes} bytes.", "raise file_bytes if that is right.")


def _local(base: Path, file: Path, path: str) -> StoredFile:
    # One file has one name, however its path was written: positions and hashes go by it.
    named = Path(os.path.normpath(base / path))
    name = (named if named.is_relative_to(base) else file).relative_to(base)
    return StoredFile(name=name.as_posix(), where=str(file), location=str(file))


def digest_of(opened: BinaryIO, where: str) -> str:
    """SHA-256 of an open file from its start, in hexadecimal; the file is at its start again.

    Raises:
        SourceNotFoundError: A fault of the disk.
    """
    try:
        digest = hashlib.file_digest(cast("Any", opened), "sha256").hexdigest()
    except OSError as error:
        raise unreadable(where, error) from error
    opened.seek(0)
    return digest


__all__ = ["Storage", "StoredFile", "digest_of"]
