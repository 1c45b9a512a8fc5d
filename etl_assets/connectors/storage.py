"""Files below one base folder, on this machine or at an fsspec URL (s3://, gs://, sftp://, memory:// ...).

A path or a glob leads to files inside the folder and nowhere else. A remote file is copied here first, on disk from a certain size
on, so that the unit of retry is a file. Compressed files are unpacked by what they hold, not by their name. Caps stand on both.

Not here: what the bytes mean (`files.py`, `excel.py`).
"""

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast

import fsspec
import pyarrow as pa

from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError, SourceUnavailableError
from etl_assets.postgres.connection import redact_url
from etl_assets.retry import RetryPolicy

_SPOOL_BYTES = 64 * 2**20
_PIECE_BYTES = 2**20
_MOST_RATIO = 500
_RATIO_FROM_BYTES = 64 * 2**20
_MOST_ENTRIES = 10_000
_ZIP: Final = b"PK\x03\x04"
_MAGIC: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", _ZIP)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "sftp": "sftp", "ssh": "sftp"}
_GLOB = re.compile(r"[*?\[]")
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException)


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
            self._shown = redact_url(base_folder).rstrip("/")
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
            raise SourceNotFoundError(
                f"{self._shown}/{path}", f"{cause}; present: {self._present(path)}.", "correct the path, or deliver the file."
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
                raise _unreadable(file.where, error) from error
        else:
            opened = self._policy.call(lambda: self._copy(file), doing=f"reading {file.where}")
        with opened:
            size = opened.seek(0, io.SEEK_END)
            opened.seek(0)
            self._refuse_large(size, file.where)
            yield opened

    def digest(self, file: StoredFile) -> str:
        """SHA-256 of the bytes as stored, in hexadecimal; errors as `open`."""
        with self.open(file) as opened:
            try:
                return hashlib.file_digest(cast("Any", opened), "sha256").hexdigest()
            except OSError as error:
                raise _unreadable(file.where, error) from error

    @contextlib.contextmanager
    def unpacked(self, file: StoredFile) -> Iterator[BinaryIO]:
        """The bytes of a file, unpacked where it is gzip, bzip2, xz, zstd, or a zip archive of one file; read to the end once.

        Raises:
            SourceFormatError: It cannot be unpacked, or an archive holds several files; while reading: it grows beyond what is allowed.
        """
        with self.open(file) as opened:
            packed = opened.seek(0, io.SEEK_END)
            opened.seek(0)
            try:
                plain = _unpack(opened, file.where)
            except _BROKEN as error:
                raise _broken(file.where, error) from error
            with contextlib.closing(plain):
                capped = _Capped(plain, packed, self._most_bytes, file.where, checks_ratio=plain is not opened)
                yield cast("BinaryIO", io.BufferedReader(capped, _PIECE_BYTES))

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
            for named in sorted(base.glob(path)):
                file = named.resolve()
                self._refuse_outside(file.is_relative_to(base), str(named.relative_to(base)))
                if file.is_file():
                    found.append(_local(base, file, str(named.relative_to(base))))
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
                self._shown, f"the address or its options cannot be used ({type(error).__name__}).", "correct base_folder."
            ) from error
        except Exception as error:
            raise self._unavailable(self._shown, error) from error
        return remote, str(root).rstrip("/")

    def _joined(self, path: str) -> str:
        return self._root if path in ("", ".") else f"{self._root}/{path}"

    def _find_remote(self, path: str, glob: bool) -> list[StoredFile]:
        parts = PurePosixPath(path).parts
        self._refuse_outside(not path.startswith("/") and ".." not in parts and "://" not in path, path)

        def find() -> list[str]:
            try:
                self._remote.invalidate_cache()
                if glob:
                    return sorted(str(name) for name in self._remote.glob(self._joined(path)) if self._remote.isfile(name))
                return [self._joined(path)] if self._remote.isfile(self._joined(path)) else []
            except Exception as error:
                raise self._unavailable(f"{self._shown}/{path}", error) from error

        found = self._policy.call(find, doing=f"listing {self._shown}/{path}")
        return [self._stored(location) for location in found]

    def _stored(self, location: str) -> StoredFile:
        root = self._root.lstrip("/")
        name = location.lstrip("/").removeprefix(root).lstrip("/")
        return StoredFile(name=name, where=f"{self._shown}/{name}", location=location)

    def _copy(self, file: StoredFile) -> BinaryIO:
        copied: Any = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
        try:
            size = 0
            with self._remote.open(file.location, "rb") as source:
                while piece := source.read(_PIECE_BYTES):
                    size += len(piece)
                    self._refuse_large(size, file.where)
                    copied.write(piece)
        except EtlError:
            copied.close()
            raise
        except Exception as error:
            copied.close()
            raise self._unavailable(file.where, error) from error
        return cast("BinaryIO", copied)

    def _unavailable(self, where: str, error: Exception) -> EtlError:
        """Errors of a store: each library has its own classes, those of the system tell the rest."""
        kind = type(error).__name__
        if isinstance(error, FileNotFoundError):
            return SourceNotFoundError(where, "there is no such file.", "correct the path.")
        if isinstance(error, PermissionError) or "Credential" in kind or "Authentication" in kind:
            return ConfigurationError(where, f"the store refused access ({kind}).", "check keys and rights of storage_options.")
        if isinstance(error, OSError) or "Connect" in kind or "Timeout" in kind or "SSH" in kind:
            return SourceUnavailableError(where, f"the store does not answer ({kind}).", "check that it is reachable.")
        return SourceNotFoundError(where, f"the file cannot be read ({kind}).", "check the address and storage_options.")

    def _refuse_large(self, size: int, where: str) -> None:
        if size > self._most_bytes:
            raise SourceFormatError(where, f"the file is larger than {self._most_bytes} bytes.", "raise file_bytes if that is right.")


def _local(base: Path, file: Path, path: str) -> StoredFile:
    return StoredFile(name=str(PurePosixPath(path)), where=str(file), location=str(file))


def _unreadable(where: str, error: OSError) -> EtlError:
    return SourceNotFoundError(
        where, f"the file cannot be read ({error.strerror or error}).", "give this user read permission, or deliver it again."
    )


def _broken(where: str, error: Exception) -> EtlError:
    return SourceFormatError(where, f"the compressed file cannot be unpacked ({error}).", "deliver it again.")


def _unpack(opened: BinaryIO, where: str) -> Any:
    start = opened.read(6)
    opened.seek(0)
    magic = next((magic for magic in _MAGIC if start.startswith(magic)), None)
    if magic is None:
        return opened
    if magic == _ZIP:
        archive = zipfile.ZipFile(opened)
        names = [info for info in archive.infolist() if not info.is_dir()]
        if len(names) != 1:
            raise SourceFormatError(
                where, f"the archive holds {len(names)} files: {[info.filename for info in names[:5]]}.", "deliver one file per archive."
            )
        if names[0].flag_bits & 0x1:
            raise SourceFormatError(where, "the archive is protected by a password.", "deliver it without.")
        return archive.open(names[0])
    if magic == b"BZh":
        return bz2.open(opened)
    if magic == b"\x1f\x8b":
        return gzip.open(opened)
    if magic == b"\xfd7zXZ\x00":
        return lzma.open(opened)
    return pa.CompressedInputStream(pa.PythonFile(opened), "zstd")


class _Capped(io.RawIOBase):
    """Bytes of a file while they are unpacked, against the caps; a broken archive is an error of ours."""

    def __init__(self, plain: Any, packed: int, most_bytes: int, where: str, *, checks_ratio: bool) -> None:
        self._plain = plain
        self._packed = packed
        self._most_bytes = most_bytes
        self._where = where
        self._checks_ratio = checks_ratio
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self._plain.read(len(buffer))
        except _BROKEN as error:
            raise _broken(self._where, error) from error
        self._count += len(piece)
        if self._count > self._most_bytes:
            raise SourceFormatError(
                self._where, f"the file is larger than {self._most_bytes} bytes when unpacked.", "raise file_bytes if that is right."
            )
        if self._checks_ratio and self._count > _RATIO_FROM_BYTES and self._count > _MOST_RATIO * self._packed:
            raise SourceFormatError(
                self._where, f"the file unpacks to more than {_MOST_RATIO} times its size.", "deliver it unpacked if that is right."
            )
        buffer[: len(piece)] = piece
        return len(piece)


def refuse_zip_bomb(opened: BinaryIO, most_bytes: int, where: str) -> None:
    """Look at the directory of a zip archive, which workbooks are, before anything is unpacked; other files pass.

    Raises:
        SourceFormatError: Too many entries, too large, or packed too well to be true.
    """
    if not zipfile.is_zipfile(opened):
        opened.seek(0)
        return
    opened.seek(0)
    try:
        with zipfile.ZipFile(opened) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise _broken(where, error) from error
    total, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if len(entries) > _MOST_ENTRIES or total > most_bytes or (total > _RATIO_FROM_BYTES and total > _MOST_RATIO * max(packed, 1)):
        raise SourceFormatError(
            where, f"it unpacks to {total} bytes in {len(entries)} entries, from {packed}.", "raise file_bytes if that is right."
        )
    opened.seek(0)


__all__ = ["Storage", "StoredFile", "refuse_zip_bomb"]
