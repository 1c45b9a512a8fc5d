"""CSV and JSON files on disk: what arrives, what is refused, and which paths are followed."""

import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from etl_assets.accounting import SOURCE_POSITION, Read, open_account
from etl_assets.connectors.files import FilesResource
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError
from etl_assets_tests.connectors.file_reading import rows_of


@pytest.fixture
def files(tmp_path: Path) -> FilesResource:
    """Files below an empty folder."""
    return FilesResource(base_folder=str(tmp_path))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    """Write the file that a test reads."""

    def write_file(content: str | bytes, name: str = "a.csv") -> None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write_file


# -- CSV: what arrives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "NA",
        "None",
        "Nan",
        "nan",
        "NULL",
        "null",
        "N/A",
        "00501",
        "9007199254740993",
        "1.50",
        "1e5",
        "+1",
        " x ",
        "true",
        "2013-01-01",
        "ß😀",
    ],
)
def test_csv_text_survives(files: FilesResource, write: Callable[..., None], written: str) -> None:
    """A field arrives as it was written; nothing is guessed."""
    write(f"a,b\n{written},1\n")
    assert rows_of(files.read_csv("a.csv")) == [[written, "1"]]


@pytest.mark.parametrize(
    ("markers", "expected"),
    [
        ((), ["NA", "-", ""]),
        (("",), ["NA", "-", None]),
        (("NA",), [None, "-", ""]),
        (("", "NA", "-"), [None, None, None]),
    ],
    ids=["none", "default", "NA", "several"],
)
def test_csv_only_declared_markers_are_null(
    files: FilesResource, write: Callable[..., None], markers: tuple[str, ...], expected: list[str | None]
) -> None:
    """Exactly the declared texts mean NULL."""
    write("a,b,c\nNA,-,\n")
    assert rows_of(files.read_csv("a.csv", null_markers=markers)) == [expected]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("a,b\n1,2\n", {}, [["1", "2"]]),
        ("a,b\n1,2", {}, [["1", "2"]]),
        ("a,b\r\n1,2\r\n", {}, [["1", "2"]]),
        (b"\xef\xbb\xbfa,b\n1,2\n", {}, [["1", "2"]]),
        (b"\xef\xbb\xbf\"a\",b\n1,2\n", {}, [["1", "2"]]),
        ("a;b\n1,5;2\n", {"delimiter": ";"}, [["1,5", "2"]]),
        ("a\tb\n1\t2\n", {"delimiter": "\t"}, [["1", "2"]]),
        ("a,b\né,€\n".encode("cp1252"), {"encoding": "cp1252"}, [["é", "€"]]),
        ("a,b\n1,é\n".encode("utf-16"), {"encoding": "utf-16"}, [["1", "é"]]),
        ('a,b\n"x, ""y""","z"\n', {}, [['x, "y"', "z"]]),
        ("a,b\n\n1,2\n\n", {}, [["1", "2"]]),
        ("a,b\n", {}, []),
        ("a,b", {}, []),
    ],
    ids=[
        "plain", "no last newline", "CRLF", "BOM", "BOM and quote", "semicolon", "tab", "cp1252", "UTF-16", "quotes", "blank lines",
        "header only", "header without newline",
    ],
)  # fmt: skip
def test_csv_layouts(
    files: FilesResource, write: Callable[..., None], content: str | bytes, options: dict[str, str], expected: list[list[str]]
) -> None:
    """Each declared layout gives the same cells, under the columns a and b."""
    write(content)
    frame = files.read_csv("a.csv", **options)
    assert (list(frame.columns), rows_of(frame)) == (["a", "b", SOURCE_POSITION], expected)


def test_csv_positions_count_lines_of_the_file(files: FilesResource, write: Callable[..., None]) -> None:
    """A position is the line where its record starts, whatever quoted newlines and blank lines come before."""
    write('a,b\n1,"x\ny"\n\n2,z\n3,"p\r\n\r\nq"\n4,w\n')
    positions = files.read_csv("a.csv")[SOURCE_POSITION].tolist()
    # header 1; record of lines 2-3; blank 4; 5; record of lines 6-8; 9
    assert positions == ["a.csv line 2", "a.csv line 5", "a.csv line 6", "a.csv line 9"]


def test_csv_quoted_newlines_survive(files: FilesResource, write: Callable[..., None]) -> None:
    """Line breaks inside quotes belong to the field, kept as they were."""
    write('a,b\n1,"x\ny"\n2,"p\r\n\r\nq"\n')
    assert files.read_csv("a.csv")["b"].tolist() == ["x\ny", "p\r\n\r\nq"]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"], ids=ascii)
def test_csv_only_newlines_end_a_record(files: FilesResource, write: Callable[..., None], character: str) -> None:
    """A character that only Unicode counts as a line break does not end a record."""
    write(f"a\nx{character}y\nz\n")
    assert files.read_csv("a.csv")["a"].tolist() == [f"x{character}y", "z"]


@pytest.mark.parametrize("character", ["\u2028", "\x0c"], ids=ascii)
def test_csv_only_newlines_count_as_lines(files: FilesResource, write: Callable[..., None], character: str) -> None:
    """A quoted character that only Unicode counts as a line break does not move the positions below it."""
    write(f'a,b\n1,"x{character}y"\n2,z\n')
    assert files.read_csv("a.csv")[SOURCE_POSITION].tolist() == ["a.csv line 2", "a.csv line 3"]


def test_csv_a_long_field_survives(files: FilesResource, write: Callable[..., None]) -> None:
    """A field may be longer than Python's csv module allows by default."""
    write(f"a,b\n1,{'x' * 200_000}\n")
    assert len(files.read_csv("a.csv")["b"][0]) == 200_000


def test_csv_a_blank_line_of_one_column_is_a_row(files: FilesResource, write: Callable[..., None]) -> None:
    """Where there is one column, a blank line is a record whose field is empty."""
    write("a\n1\n\n2\n\n")
    assert files.read_csv("a.csv").values.tolist() == [
        ["1", "a.csv line 2"], [pytest.approx(float("nan"), nan_ok=True), "a.csv line 3"], ["2", "a.csv line 4"],
        [pytest.approx(float("nan"), nan_ok=True), "a.csv line 5"],
    ]  # fmt: skip


def test_csv_every_column_is_text(files: FilesResource, write: Callable[..., None]) -> None:
    """All columns share the text dtype, also without rows."""
    write("a,b\n")
    assert {str(dtype) for dtype in files.read_csv("a.csv").dtypes} == {"str"}


def test_csv_reports_its_rows(files: FilesResource, write: Callable[..., None], tmp_path: Path) -> None:
    """One read of the file with its number of records reaches the account."""
    write('a,b\n1,"x\ny"\n\n2,z\n')
    with open_account() as account:
        files.read_csv("a.csv")
    notes = "utf-8, delimiter ',', quote '\"'"
    assert account.reads == [Read(source=str(tmp_path / "a.csv"), rows=2, notes=notes)]


# -- CSV: what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("", {}, "no header line"),
        (b"\xef\xbb\xbf", {}, "no header line"),
        ("\n", {}, "no header line"),
        ("a,b,a\n1,2,3\n", {}, r"repeats \['a'\]"),
        ('"a,b\n1,2\n', {}, "line 1, the header, is not valid CSV"),
        ("a,b\n1,é\n".encode("cp1252"), {}, "the file is not utf-8 "),
        ("a,b\n1,2\n".encode("utf-16"), {"encoding": "utf-8"}, "the file is not utf-8 "),
        ("a,b\n1,é\n", {"encoding": "ascii"}, "the file is not ascii "),
        ("a,b\n1,2\n".encode("utf-16-le"), {}, "line 1 holds a NUL byte"),
        ("source_position,a\nmine,1\n", {}, "source_position"),
        ("a,,b\n1,2,3\n", {}, "a column without a name"),
        ("a, \n1,2\n", {}, "a column without a name"),
        ('""\n1\n', {}, "a column without a name"),
    ],
    ids=[
        "empty", "BOM only", "blank", "repeated header", "open quote in the header", "cp1252 as UTF-8", "UTF-16 as UTF-8", "wrong encoding",
        "UTF-16 without BOM", "reserved name", "name missing", "name blank", "only name missing",
    ],
)  # fmt: skip
def test_csv_of_another_format_is_refused(
    files: FilesResource, write: Callable[..., None], content: str | bytes, options: dict[str, str], said: str
) -> None:
    """A file that is not what was declared is a format error that names the place, whoever listens."""
    write(content)
    with open_account(), pytest.raises(SourceFormatError, match=said):
        files.read_csv("a.csv", **options)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n3\n", "a.csv line 3: 1 fields, the header has 2: '3'. Next: correct it at the source"),
        ("a,b\n1,2\n3,4,5\n", "a.csv line 3: 3 fields, the header has 2: '3,4,5'"),
        ('a,b\n1,"x\ny"\n3,4,5\n', "a.csv line 4: 3 fields"),
        ("a,b\n1,2,3\n4,5,6\n", r"a.csv line 2: 3 fields, the header has 2: '1,2,3' \(2 such rows\)"),
        ("a;b\n1;2,5\n", "a.csv line 2: 2 fields, the header has 1"),
        ('a,b\n1,"x\n2,y\n', r"a.csv line 2: not valid CSV .*: '1,\"x' \(2 such rows\)"),
        ('a,b\n1,"x"y\n', "a.csv line 2: not valid CSV"),
        (b"a,b\n1,2\n3,\x00\n", r"a.csv line 3: holds a NUL byte: '3,\\x00'"),
    ],
    ids=[
        "short row", "long row", "long row after a quoted newline", "one extra field on every row", "wrong delimiter", "open quote",
        "text after quote", "NUL",
    ],
)  # fmt: skip
def test_csv_a_record_that_cannot_be_read_is_an_error_where_nobody_listens(
    files: FilesResource, write: Callable[..., None], content: str | bytes, said: str
) -> None:
    """Outside an asset a record that cannot be read is a format error with its line, its text and how many there are."""
    write(content)
    with pytest.raises(SourceFormatError, match=said):
        files.read_csv("a.csv")


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n"])
def test_csv_a_delimiter_is_one_character(files: FilesResource, write: Callable[..., None], delimiter: str) -> None:
    """A delimiter that is not one character, or means something else in CSV, is an error of configuration."""
    write("a;;b\n1;;2\n")
    with pytest.raises(ConfigurationError, match="delimiter: .* cannot part fields"):
        files.read_csv("a.csv", delimiter=delimiter)


@pytest.mark.parametrize("quote", ["", "''", "\n", ","])
def test_csv_a_quote_is_one_character(files: FilesResource, write: Callable[..., None], quote: str) -> None:
    """A quote that is not one character, or parts fields or lines, is an error of configuration."""
    write("a,b\n1,2\n")
    with pytest.raises(ConfigurationError, match="cannot (quote|part) fields"):
        files.read_csv("a.csv", quote=quote)


def test_csv_null_markers_are_a_list(files: FilesResource, write: Callable[..., None]) -> None:
    """One text in place of a list of texts is refused: its letters would mean NULL."""
    write("a,b\nN,U\n")
    with pytest.raises(ConfigurationError, match=r"'NULL' is one text, not several. Next: write \['NULL'\]"):
        files.read_csv("a.csv", null_markers="NULL")


@pytest.mark.parametrize("rows", [0, -1])
@pytest.mark.parametrize("read", ["read_csv_batches", "read_json_lines_batches", "read_parquet_batches"])
def test_a_batch_has_rows(files: FilesResource, read: str, rows: int) -> None:
    """Batches of no rows are refused at the call: nothing would ever be read."""
    with pytest.raises(ConfigurationError, match="a batch has at least 1 row"):
        getattr(files, read)("a", rows=rows)


# -- JSON --------------------------------------------------------------------------------------------------------------


def test_json_values_arrive_as_text(files: FilesResource, write: Callable[..., None]) -> None:
    """Numbers keep their digits, nested values stay JSON, null and missing keys are NULL."""
    write('[{"a": 1.50, "b": {"x": [1e400]}}, {"a": null, "b": 12345678901234567890}, {"b": "NA"}]', "a.json")
    assert rows_of(files.read_json("a.json")) == [["1.50", '{"x": [1e400]}'], [None, "12345678901234567890"], [None, "NA"]]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ('[{"a": "é"}]', {}),
        ('{"n": 1, "rows": [{"a": "é"}]}', {"records": "rows"}),
        ('\ufeff[{"a": "é"}]', {}),
        ('[{"a": "é"}]'.encode("cp1252"), {"encoding": "cp1252"}),
    ],
    ids=["list", "records", "BOM", "cp1252"],
)
def test_json_layouts(files: FilesResource, write: Callable[..., None], content: str | bytes, options: dict[str, str]) -> None:
    """Each declared layout gives the same record."""
    write(content, "a.json")
    assert rows_of(files.read_json("a.json", **options)) == [["é"]]


def test_json_positions_count_records(files: FilesResource, write: Callable[..., None]) -> None:
    """A position is the number of the record, counted from 1."""
    write('[{"a": 1},\n\n{}, {"a": 3}]', "a.json")
    assert files.read_json("a.json")[SOURCE_POSITION].tolist() == ["a.json record 1", "a.json record 2", "a.json record 3"]


def test_json_reports_its_rows(files: FilesResource, write: Callable[..., None], tmp_path: Path) -> None:
    """One read of the file with its number of records reaches the account."""
    write('[{"a": 1}, {}]', "a.json")
    with open_account() as account:
        files.read_json("a.json")
    assert account.reads == [Read(source=str(tmp_path / "a.json"), rows=2, notes="utf-8")]


@pytest.mark.parametrize(
    ("content", "records", "said"),
    [
        ("", None, "this is no JSON"),
        ("a,b\n1,2\n", None, "this is no JSON .* it starts with 'a,b"),
        ('{"rows": []}', None, "a list of objects is needed, found a dict"),
        ('{"rows": []}', "data", r"nothing at 'data'; present: \['rows'\]"),
        ("[1, 2]", None, "items are not all objects"),
        (b'[{"a": "\xe9"}]', None, "the file is not utf-8 "),
    ],
    ids=["empty", "CSV", "no list", "no key", "no objects", "wrong encoding"],
)
def test_json_of_another_format_is_refused(
    files: FilesResource, write: Callable[..., None], content: str | bytes, records: str | None, said: str
) -> None:
    """A file that is not what was declared is a format error."""
    write(content, "a.json")
    with pytest.raises(SourceFormatError, match=said):
        files.read_json("a.json", records=records)


# -- paths -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> FilesResource:
    """Files below `inside`, with a readable CSV file and a link beside and into it."""
    (tmp_path / "secret.csv").write_text("a\n1\n")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.csv").symlink_to(tmp_path / "secret.csv")
    (inside / "folder").symlink_to(tmp_path)
    return FilesResource(base_folder=str(inside))


@pytest.mark.parametrize("path", ["../secret.csv", "x/../../secret.csv", "link.csv", "folder/secret.csv", "/etc/hostname", "{outside}"])
def test_a_path_out_of_the_folder_is_refused(outside: FilesResource, tmp_path: Path, path: str) -> None:
    """Neither `..`, nor a link, nor an absolute name leads out of the base folder."""
    with pytest.raises(ConfigurationError, match="leads out of the folder"):
        outside.read_csv(path.replace("{outside}", str(tmp_path / "secret.csv")))


def test_a_folder_with_the_same_start_is_outside(tmp_path: Path) -> None:
    """A sibling whose name starts with the base folder's name is outside it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data-private").mkdir()
    (tmp_path / "data-private" / "a.csv").write_text("a\n1\n")
    with pytest.raises(ConfigurationError, match="leads out of the folder"):
        FilesResource(base_folder=str(tmp_path / "data")).read_csv("../data-private/a.csv")


def test_a_link_inside_the_folder_is_followed(files: FilesResource, write: Callable[..., None], tmp_path: Path) -> None:
    """A link that stays inside the folder is read."""
    write("a\n1\n")
    (tmp_path / "newest.csv").symlink_to("a.csv")
    assert rows_of(files.read_csv("newest.csv")) == [["1"]]


def test_a_missing_file_lists_its_folder(files: FilesResource, write: Callable[..., None]) -> None:
    """The message lists what is there instead."""
    write("a\n1\n", "weather.csv")
    with pytest.raises(SourceNotFoundError, match=r"no such file; present: \['weather.csv'\]"):
        files.read_csv("wether.csv")


@pytest.mark.parametrize("path", ["nope/a.csv", ".", "", "a.csv/b.csv"])
def test_what_is_no_file_is_not_found(files: FilesResource, write: Callable[..., None], path: str) -> None:
    """A missing folder, a folder in place of a file, and a file in place of a folder are not found."""
    write("a\n1\n")
    with pytest.raises(SourceNotFoundError, match="there is no such file"):
        files.read_csv(path)


@pytest.mark.parametrize("path", ["./a.csv", "x/../a.csv", "{folder}/a.csv", "../{name}/a.csv"])
def test_a_file_has_one_name(files: FilesResource, write: Callable[..., None], tmp_path: Path, path: str) -> None:
    """However its path is written, a file has the same name in positions."""
    write("a\n1\n")
    frame = files.read_csv(path.replace("{folder}", str(tmp_path)).replace("{name}", tmp_path.name))
    assert frame[SOURCE_POSITION].tolist() == ["a.csv line 2"]


def test_a_file_url_is_a_folder(write: Callable[..., None], tmp_path: Path) -> None:
    """A base folder written as file:// URL is that folder."""
    write("a\n1\n")
    assert rows_of(FilesResource(base_folder=f"file://{tmp_path}").read_csv("a.csv")) == [["1"]]


@pytest.mark.parametrize("path", ["loop.csv", "a" * 300, "a\0b"], ids=["link to itself", "name too long", "NUL"])
def test_a_path_that_cannot_be_followed_is_explained(files: FilesResource, tmp_path: Path, path: str) -> None:
    """A path that the system refuses to follow is an error of this project."""
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(EtlError):
        files.read_csv(path)


_READ_UNPRIVILEGED = """
import os, sys
from etl_assets.connectors.files import FilesResource
from etl_assets.errors import EtlError
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    FilesResource(base_folder=sys.argv[1]).read_csv(sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("locked", "permissions", "said"),
    [
        ("data/a.csv", 0o000, "SourceNotFoundError .*the file cannot be read"),
        ("data", 0o000, "SourceNotFoundError .*"),
    ],
    ids=["file", "folder"],
)
def test_what_permissions_forbid_is_explained(locked: str, permissions: int, said: str) -> None:
    """A file or folder that this user may not open is a source error, not a bare PermissionError."""
    # Permission bits do not bind root, so an unprivileged process reads; and the folder of tmp_path lets nobody else in.
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        base.chmod(0o755)
        (base / "data").mkdir(mode=0o755)
        (base / "data" / "a.csv").write_text("a\n1\n")
        before = stat.S_IMODE((base / locked).stat().st_mode)
        (base / locked).chmod(permissions)
        done = subprocess.run(
            [sys.executable, "-c", _READ_UNPRIVILEGED, folder, "data/a.csv"],
            capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        (base / locked).chmod(before)
    assert re.match(said, done.stdout), done.stdout


@pytest.mark.parametrize("path", ["nope.csv", "../a.csv", "ragged.csv", "latin.csv"])
def test_a_message_holds_place_cause_and_next_step(files: FilesResource, write: Callable[..., None], path: str) -> None:
    """Every message names the file, says what happened and what to do."""
    write("a,b\n1\n", "ragged.csv")
    write(b"a\n\xe9\n", "latin.csv")
    with pytest.raises(EtlError) as caught:
        files.read_csv(path)
    error = caught.value
    assert (path in error.where, str(error)) == (True, f"{error.where}: {error.cause} Next: {error.next_step}")
