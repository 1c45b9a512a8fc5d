"""Compressed files as they were before: recognised by what they hold, against caps on size and ratio, to the end or with an error.

Not here: where files lie (`storage.py`).
"""

import bz2
import contextlib
import gzip
import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa

from etl_assets.errors import EtlError, SourceFormatError, SourceNotFoundError

PIECE_BYTES: Final = 2**20
_MOST_RATIO = 500
_RATIO_FROM_BYTES = 64 * 2**20
_MOST_ENTRIES = 10_000
_XZ_BYTES = 512 * 2**20
_MAGIC: Final = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),  # a text may start with BZh
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "zip": re.compile(rb"PK(\x03\x04|\x05\x06)"),
}
# zipfile raises whatever comes: NotImplementedError, UnicodeDecodeError, struct.error ...
_BROKEN = (
    OSError, EOFError, RuntimeError, UnicodeError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException
)  # fmt: skip


@contextlib.contextmanager
def unpack(opened: BinaryIO, *, most_bytes: int, where: str) -> Iterator[BinaryIO]:
    """The bytes of an open file, unpacked where it is gzip, bzip2, xz, zstd, or a zip archive of one file; read to the end once.

    Args:
        opened: Seekable.
        most_bytes: Largest size when unpacked.
        where: For errors.

    Raises:
        SourceFormatError: It cannot be unpacked, or an archive holds several files; while reading: it grows beyond what is allowed.
        SourceNotFoundError: While reading: a fault of the disk.
    """
    packed = opened.seek(0, io.SEEK_END)
    opened.seek(0)
    try:
        plain = _unpack(opened, where)
    except _BROKEN as error:
        raise _broken(where, error) from error
    with contextlib.closing(plain):
        capped = _Capped(plain, packed, most_bytes, where, is_packed=plain is not opened)
        yield cast("BinaryIO", io.BufferedReader(capped, PIECE_BYTES))


def unreadable(where: str, error: OSError) -> EtlError:
    """The error for a fault of the disk, or a missing permission."""
    return SourceNotFoundError(
        where, f"the file cannot be read ({error.strerror or error}).", "give this user read permission, or deliver it again."
    )


def _broken(where: str, error: Exception) -> EtlError:
    return SourceFormatError(where, f"the compressed file cannot be unpacked ({error}).", "deliver it again.")


def _unpack(opened: BinaryIO, where: str) -> Any:
    start = opened.read(10)
    opened.seek(0)
    kind = next((kind for kind, magic in _MAGIC.items() if magic.match(start)), None)
    if kind == "zip":
        return _only_file(zipfile.ZipFile(opened), where)
    if kind == "gzip":
        return gzip.open(opened)
    if kind == "bzip2":
        return io.BufferedReader(_Streams(opened, bz2.BZ2Decompressor), PIECE_BYTES)
    if kind == "xz":
        return io.BufferedReader(_Streams(opened, lambda: lzma.LZMADecompressor(memlimit=_XZ_BYTES)), PIECE_BYTES)
    if kind == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(opened), "zstd")
    return opened


def _only_file(archive: zipfile.ZipFile, where: str) -> Any:
    names = [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    if len(names) != 1:
        raise SourceFormatError(
            where, f"the archive holds {len(names)} files: {[info.filename for info in names[:5]]}.", "deliver one file per archive."
        )
    if names[0].flag_bits & 0x1:
        raise SourceFormatError(where, "the archive is protected by a password.", "deliver it without.")
    return archive.open(names[0])


class _Streams(io.RawIOBase):
    """One compressed stream after the other; the standard library's files end silently at the first that is broken."""

    def __init__(self, packed: BinaryIO, decompressor: Callable[[], Any]) -> None:
        self._packed = packed
        self._decompressor = decompressor
        self._stream = decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._stream.eof:
                rest = self._stream.unused_data.lstrip(b"\0")  # streams may be padded
                while not rest:
                    if not (more := self._packed.read(PIECE_BYTES)):
                        return 0
                    rest = more.lstrip(b"\0")
                self._stream = self._decompressor()
            elif self._stream.needs_input:
                rest = self._packed.read(PIECE_BYTES)
                if not rest:
                    raise EOFError("it ended before the end-of-stream marker was reached")
            else:
                rest = b""
            piece = self._stream.decompress(rest, len(buffer))
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)


class _Capped(io.RawIOBase):
    """Bytes of a file while they are unpacked, against the caps; a broken archive is an error of ours."""

    def __init__(self, plain: Any, packed: int, most_bytes: int, where: str, *, is_packed: bool) -> None:
        self._plain = plain
        self._packed = packed
        self._most_bytes = most_bytes
        self._where = where
        self._is_packed = is_packed
        self._count = 0
        self.size = None if is_packed else packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            size: int = self._plain.readinto(buffer)
        except _BROKEN as error:
            if isinstance(error, OSError) and not self._is_packed:
                raise unreadable(self._where, error) from error
            raise _broken(self._where, error) from error
        self._count += size
        if self._count > self._most_bytes:
            raise SourceFormatError(
                self._where, f"the file is larger than {self._most_bytes} bytes when unpacked.", "raise file_bytes if that is right."
            )
        if self._is_packed and self._count > _RATIO_FROM_BYTES and self._count > _MOST_RATIO * self._packed:
            raise SourceFormatError(
                self._where, f"the file unpacks to more than {_MOST_RATIO} times its size.", "deliver it unpacked if that is right."
            )
        return size


def plain_size(opened: BinaryIO) -> int | None:
    """Bytes of a file that `unpack` opened; None where it is packed, so that nobody knows before it ends."""
    raw = getattr(opened, "raw", None)
    return raw.size if isinstance(raw, _Capped) else None


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
    except Exception as error:  # zipfile raises one of many kinds
        raise _broken(where, error) from error
    total, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if len(entries) > _MOST_ENTRIES or total > most_bytes or (total > _RATIO_FROM_BYTES and total > _MOST_RATIO * max(packed, 1)):
        raise SourceFormatError(
            where, f"it unpacks to {total} bytes in {len(entries)} entries, from {packed}.", "raise file_bytes if that is right."
        )
    opened.seek(0)


__all__ = ["PIECE_BYTES", "plain_size", "refuse_zip_bomb", "unpack", "unreadable"]
