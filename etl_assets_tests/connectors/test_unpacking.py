"""Compressed files: recognised by what they hold, read to the end or refused, and capped."""

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from etl_assets.connectors.files import FilesResource
from etl_assets.errors import EtlError, SourceFormatError
from etl_assets_tests.connectors.file_reading import put, rows_of

CONTENT = b"a,b\n" + b"".join(b"%d,x%d\n" % (number, number) for number in range(200))
ROWS = [[str(number), f"x{number}"] for number in range(200)]


def zstd(content: bytes) -> bytes:
    """One frame of Zstandard."""
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(content)
    return bytes(buffer.getvalue().to_pybytes())


def zipped(content: bytes, *others: tuple[str, bytes], name: str = "a.csv") -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, inside in ((name, content), *others):
            archive.writestr(entry, inside)
    return buffer.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "zip": zipped,
}
every_kind = pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)


@pytest.fixture
def files(tmp_path: Path) -> FilesResource:
    """Files below an empty folder."""
    return FilesResource(base_folder=str(tmp_path))


@every_kind
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.zip", "a"])
def test_a_compressed_file_is_known_by_what_it_holds(
    files: FilesResource, tmp_path: Path, pack: Callable[[bytes], bytes], name: str
) -> None:
    """Whatever its name, a compressed file is unpacked."""
    put(tmp_path, name, pack(CONTENT))
    assert rows_of(files.read_csv(name)) == ROWS


@pytest.mark.parametrize("name", ["a.csv.gz", "a.zip", "a.bz2"])
def test_a_plain_file_may_be_named_like_a_compressed_one(files: FilesResource, tmp_path: Path, name: str) -> None:
    """A name alone packs nothing."""
    put(tmp_path, name, CONTENT)
    assert rows_of(files.read_csv(name)) == ROWS


@pytest.mark.parametrize("header", ["BZh", "BZh9", "BZhour", "PK", "Rar!"])
def test_a_text_may_start_like_a_compressed_file(files: FilesResource, tmp_path: Path, header: str) -> None:
    """The first letters of a text are not mistaken for the mark of a compressed file."""
    put(tmp_path, "a.csv", f"{header},b\n1,2\n")
    assert list(files.read_csv("a.csv").columns)[:2] == [header, "b"]


@every_kind
def test_an_empty_file_may_be_packed(files: FilesResource, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """A packed file of nothing is a file of nothing."""
    put(tmp_path, "a.csv", pack(b""))
    with pytest.raises(SourceFormatError, match="the file has no header line"):
        files.read_csv("a.csv")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd], ids=["gzip", "bzip2", "xz", "zstd"])
def test_streams_that_follow_each_other_are_one_file(files: FilesResource, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Files packed apart and put together, as `cat` does, are read to the end."""
    put(tmp_path, "a.csv", pack(CONTENT[:400]) + pack(CONTENT[400:1000]) + pack(CONTENT[1000:]))
    assert rows_of(files.read_csv("a.csv")) == ROWS


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress], ids=["bzip2", "xz"])
def test_streams_may_be_padded(files: FilesResource, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Zeros between and after streams are nothing."""
    put(tmp_path, "a.csv", pack(CONTENT[:400]) + bytes(8) + pack(CONTENT[400:]) + bytes(2**21))
    assert rows_of(files.read_csv("a.csv")) == ROWS


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd], ids=["gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("rest", [b"garbage", b"\0\0garbage"], ids=["at once", "after zeros"])
def test_garbage_after_a_stream_is_no_end(files: FilesResource, tmp_path: Path, pack: Callable[[bytes], bytes], rest: bytes) -> None:
    """What follows a stream and is none is refused: it may be the rest of the rows."""
    put(tmp_path, "a.csv", pack(CONTENT) + rest)
    with pytest.raises(SourceFormatError, match="the compressed file cannot be unpacked"):
        files.read_csv("a.csv")


# -- broken ------------------------------------------------------------------------------------------------------------


@every_kind
def test_a_file_cut_anywhere_is_refused(files: FilesResource, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """However much is missing at its end, a compressed file never passes for a shorter one."""
    packed = pack(CONTENT[:60])
    for length in range(10, len(packed)):  # fewer bytes than a mark are a text, such as "BZh9"
        put(tmp_path, "a.csv", packed[:length])
        with pytest.raises(EtlError):
            files.read_csv("a.csv")


@pytest.mark.parametrize("pack", [PACKED[kind] for kind in ("gzip", "bzip2", "xz", "zip")], ids=["gzip", "bzip2", "xz", "zip"])
def test_a_changed_byte_changes_no_row(files: FilesResource, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Whichever byte is damaged, the rows are the same or the file is refused. (The frames of Arrow's zstd have no checksum.)"""
    packed = pack(CONTENT[:60])
    put(tmp_path, "good.csv", CONTENT[:60])
    good = rows_of(files.read_csv("good.csv"))
    for place in range(len(packed)):
        put(tmp_path, "a.csv", packed[:place] + bytes([packed[place] ^ 0x55]) + packed[place + 1 :])
        try:
            assert rows_of(files.read_csv("a.csv")) == good
        except EtlError:
            continue


def test_a_cut_file_gives_no_rows_in_batches_beyond_its_end(files: FilesResource, tmp_path: Path) -> None:
    """Batches of a cut file end with the error, not with the last row that could be read."""
    put(tmp_path, "a.csv", gzip.compress(CONTENT)[:-4])
    batches = files.read_csv_batches("a.csv", rows=10)
    with pytest.raises(SourceFormatError, match="cannot be unpacked"):
        list(batches)


# -- zip archives ------------------------------------------------------------------------------------------------------


def test_a_folder_in_an_archive_is_no_file(files: FilesResource, tmp_path: Path) -> None:
    """Entries for folders do not count."""
    put(tmp_path, "a.zip", zipped(CONTENT, ("in/", b""), name="in/a.csv"))
    assert rows_of(files.read_csv("a.zip")) == ROWS


def test_what_macos_adds_to_an_archive_is_no_file(files: FilesResource, tmp_path: Path) -> None:
    """The entries below __MACOSX do not count."""
    put(tmp_path, "a.zip", zipped(CONTENT, ("__MACOSX/._a.csv", b"\0\5\x16\7")))
    assert rows_of(files.read_csv("a.zip")) == ROWS


@pytest.mark.parametrize("name", ["/etc/passwd", "../../a.csv", "C:\\a.csv"])
def test_the_name_of_an_entry_leads_nowhere(files: FilesResource, tmp_path: Path, name: str) -> None:
    """Entries are read where they are, whatever they are named; the position names the archive."""
    put(tmp_path, "a.zip", zipped(b"a\n1\n", name=name))
    assert files.read_csv("a.zip").iloc[0].tolist() == ["1", "a.zip line 2"]


def _encrypted() -> bytes:
    archive = bytearray(zipped(CONTENT))
    archive[6] |= 1
    archive[archive.find(b"PK\x01\x02") + 8] |= 1
    return bytes(archive)


def _unknown_method() -> bytes:
    archive = bytearray(zipped(CONTENT))
    archive[8:10] = struct.pack("<H", 99)
    place = archive.find(b"PK\x01\x02") + 10
    archive[place : place + 2] = struct.pack("<H", 99)
    return bytes(archive)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped(CONTENT, ("b.csv", b"a\n1\n")), r"the archive holds 2 files: \['a.csv', 'b.csv'\]. Next: deliver one file per archive"),
        (zipped(b"", name="in/"), "the archive holds 0 files"),
        (b"PK\x05\x06" + bytes(18), "the archive holds 0 files"),
        (_encrypted(), "the archive is protected by a password"),
        (_unknown_method(), "the compressed file cannot be unpacked .*compression method"),
        (b"PK\x03\x04garbage", "the compressed file cannot be unpacked"),
    ],
    ids=["two files", "no file", "no entry", "password", "unknown method", "garbage"],
)
def test_an_archive_of_another_kind_is_refused(files: FilesResource, tmp_path: Path, content: bytes, said: str) -> None:
    """An archive that does not hold exactly one readable file is a format error."""
    put(tmp_path, "a.zip", content)
    with pytest.raises(SourceFormatError, match=said):
        files.read_csv("a.zip")


# -- bombs -------------------------------------------------------------------------------------------------------------


@every_kind
def test_the_cap_counts_unpacked_bytes(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """A file that is small when packed and beyond file_bytes when unpacked is refused."""
    put(tmp_path, "a.csv", pack(b"a\n" + b"1\n" * 50_000))
    with pytest.raises(SourceFormatError, match="the file is larger than 90000 bytes when unpacked. Next: raise file_bytes"):
        FilesResource(base_folder=str(tmp_path), file_bytes=90_000).read_csv("a.csv")


@pytest.mark.parametrize("pack", [gzip.compress, zstd, zipped], ids=["gzip", "zstd", "zip"])
def test_a_bomb_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """A file that unpacks to far more than its size is refused long before its end, whatever the cap on bytes."""
    put(tmp_path, "a.csv", pack(b"a\n" + b"1" * 80 * 2**20))
    with pytest.raises(SourceFormatError, match="the file unpacks to more than 500 times its size"):
        FilesResource(base_folder=str(tmp_path)).read_csv("a.csv")


def test_repetitive_rows_are_no_bomb(files: FilesResource, tmp_path: Path) -> None:
    """A file that is packed very well but is not large is read."""
    put(tmp_path, "a.csv", bz2.compress(b"a\n" + b"1\n" * 50_000))
    assert len(files.read_csv("a.csv")) == 50_000


def test_a_dictionary_beyond_measure_is_refused(files: FilesResource, tmp_path: Path) -> None:
    """An xz file that asks for gigabytes of memory is refused."""
    packed = bytearray(lzma.compress(CONTENT))
    place = packed.index(b"\x21\x01", 12)  # id of the filter, size of its properties; then the size of the dictionary
    packed[place + 2] = 40  # 4 GiB
    end = 12 + (packed[12] + 1) * 4 - 4
    packed[end : end + 4] = struct.pack("<I", zlib.crc32(packed[12:end]))
    put(tmp_path, "a.csv", bytes(packed))
    with pytest.raises(SourceFormatError, match="cannot be unpacked .*[Mm]emory"):
        files.read_csv("a.csv")
