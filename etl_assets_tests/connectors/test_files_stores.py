"""Where files lie: globs, stores across a network that fail, and what must never be shown."""

import logging
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest

from etl_assets.connectors.excel import ExcelResource
from etl_assets.connectors.files import FilesResource
from etl_assets.errors import ConfigurationError, EtlError, SourceFormatError, SourceNotFoundError, SourceUnavailableError
from etl_assets.retry_settings import NO_RETRY, Retry
from etl_assets_tests.connectors import fault_store
from etl_assets_tests.connectors.fault_store import Store
from etl_assets_tests.connectors.file_reading import accounted, positions_of, put, rows_of

AT_ONCE = Retry(attempts=3, initial_seconds=0)
Put = Callable[[str, str | bytes], None]


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[FilesResource, Put]]:
    """Files below an empty folder, here or in a store of fsspec, and a way to put files there."""
    if request.param == "local":
        yield FilesResource(base_folder=str(tmp_path)), lambda name, content: void(put(tmp_path, name, content))
        return
    folder = f"/{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    memory.makedirs(folder)
    yield (
        FilesResource(base_folder=f"memory://{folder}"),
        lambda name, content: void(memory.pipe_file(f"{folder}/{name}", content.encode() if isinstance(content, str) else content)),
    )
    memory.rm(folder, recursive=True)


def void(_: object) -> None:
    """Nothing."""


@pytest.fixture
def store() -> Iterator[Store]:
    """The store behind faulty://, with one file."""
    fault_store.store.__init__()  # type: ignore[misc]
    fault_store.store.files["bucket/in/a.csv"] = b"a,b\n1,2\n3,4\n"
    yield fault_store.store
    fault_store.store.__init__()  # type: ignore[misc]


@pytest.fixture
def remote() -> FilesResource:
    """Files of the store behind faulty://, asked three times."""
    return FilesResource(base_folder="faulty://bucket/in", retry=AT_ONCE)


# -- globs -------------------------------------------------------------------------------------------------------------

TREE = ["b.csv", "a.csv", "c.txt", ".d.csv", "2026/a.csv", "2026/x/a.csv", "2026/x/y/b.csv", "2025/a.csv", "z/[1].csv", "z/1.csv", "Z.CSV"]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.csv", [".d.csv", "a.csv", "b.csv"]),
        ("?.csv", ["a.csv", "b.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("[!a].csv", ["b.csv"]),
        ("a*", ["a.csv"]),
        ("2026/*.csv", ["2026/a.csv"]),
        ("*/a.csv", ["2025/a.csv", "2026/a.csv"]),
        ("**/a.csv", ["2025/a.csv", "2026/a.csv", "2026/x/a.csv", "a.csv"]),
        ("**/*.csv", sorted(name for name in TREE if name.endswith(".csv"))),
        ("2026/**/*.csv", ["2026/a.csv", "2026/x/a.csv", "2026/x/y/b.csv"]),
        ("2026/*/a.csv", ["2026/x/a.csv"]),
        ("202[56]/a.csv", ["2025/a.csv", "2026/a.csv"]),
        ("z/[[]1].csv", ["z/[1].csv"]),
        ("z/[1].csv", ["z/1.csv"]),
        ("*.CSV", ["Z.CSV"]),
    ],
)
def test_a_glob_names_files(place: tuple[FilesResource, Put], glob: str, expected: list[str]) -> None:
    """A glob names the same files here and in a store, sorted, at any depth with **, folders never."""
    files, write = place
    for name in TREE:
        write(name, "a\n1\n")
    assert positions_of(files.read_csv(glob)) == [f"{name} line 2" for name in expected]


@pytest.mark.parametrize("glob", ["*.parquet", "nope/*.csv", "**/nope.csv", "a.csv/*"])
def test_a_glob_of_nothing_is_not_found(place: tuple[FilesResource, Put], glob: str) -> None:
    """A glob that names no file is an error that lists what is there."""
    files, write = place
    write("a.csv", "a\n1\n")
    with pytest.raises(SourceNotFoundError, match="no file has such a name; present: "):
        files.read_csv(glob)


def test_a_name_with_a_bracket_is_explained(place: tuple[FilesResource, Put]) -> None:
    """Who writes the name of a file with brackets is told how."""
    files, write = place
    write("a[1].csv", "a\n1\n")
    with pytest.raises(SourceNotFoundError, match=r"present: \['a\[1\].csv'\]. Next: correct the path \(in a name, \[ is written \[\[\]\)"):
        files.read_csv("a[1].csv")


@pytest.mark.parametrize("path", ["../*.csv", "x/../../*.csv", "/*.csv", "/etc/*", "../a.csv", "/etc/hostname"])
def test_no_path_leads_out(place: tuple[FilesResource, Put], path: str) -> None:
    """Neither `..` nor an absolute name leads out of the folder, in globs too."""
    files, write = place
    write("a.csv", "a\n1\n")
    with pytest.raises(ConfigurationError, match="leads out of the folder"):
        files.read_csv(path)


def test_another_address_is_no_path(remote: FilesResource, store: Store) -> None:
    """A path cannot name another store."""
    with pytest.raises(ConfigurationError, match="leads out of the folder"):
        remote.read_csv("faulty://other/a.csv")


def test_a_link_out_of_the_folder_is_refused_in_a_glob(tmp_path: Path) -> None:
    """A glob that meets a link leading out is refused as a whole."""
    put(tmp_path, "secret.csv", "a\n1\n")
    put(tmp_path, "inside/a.csv", "a\n1\n")
    (tmp_path / "inside" / "b.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(ConfigurationError, match="b.csv: the path leads out of the folder"):
        FilesResource(base_folder=str(tmp_path / "inside")).read_csv("*.csv")


def test_a_link_to_a_folder_outside_is_refused_in_a_glob(tmp_path: Path) -> None:
    """A linked folder does not lead out either."""
    put(tmp_path, "other/secret.csv", "a\n1\n")
    put(tmp_path, "inside/a.csv", "a\n1\n")
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigurationError, match=r"link/secret.csv: the path leads out of the folder"):
        FilesResource(base_folder=str(tmp_path / "inside")).read_csv("*/*.csv")


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    """A folder that is linked into itself is no endless one."""
    put(tmp_path, "a.csv", "a\n1\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert "a.csv line 2" in positions_of(FilesResource(base_folder=str(tmp_path)).read_csv("**/*.csv"))


# -- the same in a store -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["nope.csv", "nope/a.csv", "", ".", "folder", "a.csv/b.csv"])
def test_what_is_no_file_is_not_found(place: tuple[FilesResource, Put], path: str) -> None:
    """A missing file, a folder in place of a file and a file in place of a folder are not found."""
    files, write = place
    write("a.csv", "a\n1\n")
    write("folder/a.csv", "a\n1\n")
    with pytest.raises(SourceNotFoundError, match="there is no such file"):
        files.read_csv(path)


def test_a_missing_file_lists_its_folder(place: tuple[FilesResource, Put]) -> None:
    """The message lists what is there instead."""
    files, write = place
    write("in/a.csv", "a\n1\n")
    with pytest.raises(SourceNotFoundError, match=r"present: \['a.csv'\]"):
        files.read_csv("in/b.csv")


def test_every_format_is_read(place: tuple[FilesResource, Put]) -> None:
    """CSV, JSON, JSON lines and Parquet are read here and in a store."""
    files, write = place
    buffer = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table({"a": ["1"]}), buffer)
    for name, content in (("a.csv", "a\n1\n"), ("a.json", '[{"a": 1}]'), ("a.jsonl", '{"a": 1}\n'), ("a.parquet", buffer.getvalue())):
        write(name, content if isinstance(content, str) else content.to_pybytes())
    frames = [files.read_csv("a.csv"), files.read_json("a.json"), files.read_json_lines("a.jsonl"), files.read_parquet("a.parquet")]
    assert [rows_of(frame) for frame in frames] == [[["1"]]] * 4


def test_a_file_larger_than_allowed_is_refused(place: tuple[FilesResource, Put]) -> None:
    """A file beyond file_bytes is an error."""
    files, write = place
    write("a.csv", "a\n" + "1\n" * 1000)
    with pytest.raises(SourceFormatError, match="the file is larger than 1000 bytes. Next: raise file_bytes"):
        files.model_copy(update={"file_bytes": 1000}).read_csv("a.csv")


def test_a_file_as_large_as_allowed_is_read(place: tuple[FilesResource, Put]) -> None:
    """The cap itself is allowed."""
    files, write = place
    write("a.csv", "a\n" + "1\n" * 499)
    assert len(files.model_copy(update={"file_bytes": 1000}).read_csv("a.csv")) == 499


# -- stores that fail --------------------------------------------------------------------------------------------------


class ServerDisconnectedError(Exception):
    """As aiohttp has it, no OSError."""


class ReadTimeoutError(Exception):
    """As botocore and urllib3 have it."""


class IncompleteReadError(Exception):
    """As botocore has it."""


FAULTS = [
    ConnectionError("reset"),
    ConnectionResetError("reset"),
    TimeoutError("slow"),
    OSError("bad gateway"),
    ServerDisconnectedError(),
    ReadTimeoutError(),
    IncompleteReadError(),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("when", ["listing_faults", "opening_faults", "reading_faults"])
@pytest.mark.parametrize("path", ["a.csv", "*.csv"])
def test_a_store_that_fails_once_is_asked_again(remote: FilesResource, store: Store, path: str, when: str, fault: Exception) -> None:
    """A fault while listing, opening or reading is tried again, and each row arrives once."""
    getattr(store, when).append(fault)
    assert rows_of(remote.read_csv(path)) == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("when", ["listing_faults", "opening_faults", "reading_faults"])
@pytest.mark.parametrize("options", [{}, {"only": "new"}], ids=["all", "new"])
@pytest.mark.parametrize("path", ["a.csv", "*.csv", "**/*.csv"])
def test_a_store_that_keeps_failing_is_unavailable(
    remote: FilesResource, store: Store, path: str, options: dict[str, Any], when: str
) -> None:
    """After all attempts it is unavailable; never is a store that does not answer taken for an empty one."""
    getattr(store, when).extend(ConnectionError("reset") for _ in range(3))
    with pytest.raises(SourceUnavailableError, match=r"the store does not answer \(ConnectionError\)"):
        accounted(lambda: remote.read_csv(path, **options))


def test_only_as_often_as_declared(store: Store) -> None:
    """Without retries a store is asked once."""
    store.listing_faults.append(ConnectionError("reset"))
    with pytest.raises(SourceUnavailableError):
        FilesResource(base_folder="faulty://bucket/in", retry=NO_RETRY).read_csv("*.csv")
    assert store.listed == 1


@pytest.mark.parametrize("when", ["listing_faults", "opening_faults", "reading_faults"])
def test_access_refused_is_not_tried_again(remote: FilesResource, store: Store, when: str) -> None:
    """A store that refuses access is an error of configuration at once."""
    getattr(store, when).append(PermissionError("forbidden"))
    with pytest.raises(ConfigurationError, match=r"the store refused access \(PermissionError\). Next: check keys"):
        remote.read_csv("*.csv")


@pytest.mark.parametrize("when", ["opening_faults", "reading_faults"])
def test_a_file_that_vanishes_is_not_found(remote: FilesResource, store: Store, when: str) -> None:
    """A file that is gone between listing and reading is not found, at once."""
    getattr(store, when).append(FileNotFoundError("gone"))
    with pytest.raises(SourceNotFoundError, match="in/a.csv: there is no such file"):
        remote.read_csv("*.csv")


@pytest.mark.parametrize("missing", [1, 4, 12])
def test_a_file_that_arrives_short_is_asked_for_again(remote: FilesResource, store: Store, missing: int) -> None:
    """A transfer that ends early, even at the end of a line, is noticed by the size the store tells."""
    store.cut_bytes.append(missing)
    assert rows_of(remote.read_csv("a.csv")) == [["1", "2"], ["3", "4"]]


def test_a_file_that_always_arrives_short_is_unavailable(remote: FilesResource, store: Store) -> None:
    """The message tells how much arrived."""
    store.cut_bytes += [4, 4, 4]
    with pytest.raises(SourceUnavailableError, match="only 8 of 12 bytes arrived"):
        remote.read_csv("a.csv")


def test_names_of_other_places_in_a_listing_are_left_out(remote: FilesResource, store: Store) -> None:
    """A listing that names files elsewhere, as a web page does with links, leads nowhere else."""
    store.elsewhere += ["other/in/b.csv", "bucket/in2/b.csv", "bucket/in/deep/b.csv", "https://other/b.csv"]
    store.files["bucket/in2/b.csv"] = store.files["other/in/b.csv"] = b"a,b\n5,6\n"
    assert positions_of(remote.read_csv("*.csv")) == ["a.csv line 2", "a.csv line 3"]


def test_a_folder_named_in_full_is_not_listed_from_above(remote: FilesResource, store: Store) -> None:
    """Only folders that the glob leaves open are listed: others may be forbidden."""
    store.files["bucket/in/2026/01/a.csv"] = b"a\n1\n"
    remote.read_csv("2026/01/*.csv")
    assert store.listed == 1


def test_a_retry_is_logged(remote: FilesResource, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells what is tried again, and why."""
    store.opening_faults.append(ConnectionError("reset"))
    with caplog.at_level(logging.WARNING):
        remote.read_csv("a.csv")
    assert caplog.messages[0].startswith(
        "reading faulty://bucket/in/a.csv: attempt 1 of 3 failed (faulty://bucket/in/a.csv: the store does"
    )


def test_workbooks_come_from_stores_too(store: Store, tmp_path: Path) -> None:
    """Excel reads from a store by the same rules."""
    import openpyxl

    workbook = openpyxl.Workbook()
    workbook.active["A1"], workbook.active["A2"] = "a", "x"
    workbook.save(tmp_path / "a.xlsx")
    store.files["bucket/in/a.xlsx"] = (tmp_path / "a.xlsx").read_bytes()
    store.reading_faults.append(ConnectionError("reset"))
    excel = ExcelResource(base_folder="faulty://bucket/in", retry=AT_ONCE)
    assert positions_of(excel.read("*.xlsx")) == ["a.xlsx Sheet row 2"]


# -- addresses and secrets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "module", "extra"), [("s3://b/f", "s3fs", "s3"), ("gs://b/f", "gcsfs", "gcs"), ("sftp://h/f", "paramiko", "sftp")]
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str) -> None:
    """A store whose package is not installed says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.sftp", raising=False)
    with pytest.raises(ConfigurationError, match=rf"need another package. Next: pip install 'etl-assets\[{extra}\]'"):
        FilesResource(base_folder=url).read_csv("a.csv")


def test_an_unknown_scheme_is_an_error_of_configuration() -> None:
    """So is a URL that fsspec does not know."""
    with pytest.raises(ConfigurationError, match="klingon://b: the address or its options cannot be used"):
        FilesResource(base_folder="klingon://b").read_csv("a.csv")


def test_options_reach_the_store(store: Store) -> None:
    """`storage_options` are what fsspec connects with."""
    FilesResource(base_folder="faulty://bucket/in", storage_options={"key": "k", "secret": "s"}).read_csv("a.csv")
    assert store.options == {"key": "k", "secret": "s"}


CANARY = "canary" + "-4711"


def _failures() -> list[tuple[str, Callable[[Store], Any], str]]:
    said = f"cannot reach https://host/?sig={CANARY}"
    return [
        ("no answer while listing", lambda store: store.listing_faults.extend([ConnectionError(said)] * 2), "*.csv"),
        ("no answer while opening", lambda store: store.opening_faults.extend([ConnectionError(said)] * 2), "a.csv"),
        ("no answer while reading", lambda store: store.reading_faults.extend([OSError(said)] * 2), "a.csv"),
        ("refused", lambda store: store.opening_faults.append(PermissionError(said)), "a.csv"),
        ("gone", lambda store: store.opening_faults.append(FileNotFoundError(said)), "a.csv"),
        ("strange", lambda store: store.opening_faults.append(KeyError(said)), "a.csv"),
        ("missing", lambda store: None, "b.csv"),
        ("out of the folder", lambda store: None, "../a.csv"),
        ("unreadable", lambda store: store.files.update({"bucket/in/a.csv": b"a\n\xe9\n"}), "a.csv"),
        ("short", lambda store: store.cut_bytes.extend([1, 1]), "a.csv"),
    ]


@pytest.mark.parametrize(("fail", "path"), [failure[1:] for failure in _failures()], ids=[failure[0] for failure in _failures()])
def test_no_failure_shows_a_secret(store: Store, caplog: pytest.LogCaptureFixture, fail: Callable[[Store], Any], path: str) -> None:
    """Neither password nor parameters of the address, nor options, nor what the store says are in message, traceback or log."""
    fail(store)
    files = FilesResource(
        base_folder=f"faulty://user:{CANARY}@bucket/in?sig={CANARY}",
        storage_options={"secret": CANARY},
        retry=Retry(attempts=2, initial_seconds=0),
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(EtlError) as caught:
        files.read_csv(path)
    shown = "".join(traceback.format_exception(caught.value)) + "\n".join(caplog.messages)
    assert CANARY not in shown


def test_a_token_in_place_of_a_user_is_no_part_of_the_address(store: Store) -> None:
    """What stands before the host is left out, with a password or without."""
    with pytest.raises(SourceNotFoundError) as caught:
        FilesResource(base_folder=f"faulty://{CANARY}@bucket/in").read_csv("b.csv")
    assert caught.value.where == "faulty://bucket/in/b.csv"


def test_where_rows_came_from_shows_no_secret(store: Store) -> None:
    """Positions and reads name files without what the address holds."""
    files = FilesResource(base_folder=f"faulty://user:{CANARY}@bucket/in", storage_options={"secret": CANARY})
    frame, account = accounted(lambda: files.read_csv("a.csv"))
    assert (positions_of(frame)[0], account.reads[0].source) == ("a.csv line 2", "faulty://bucket/in/a.csv")


def test_options_are_not_printed() -> None:
    """Printing a resource shows no option of its store."""
    assert CANARY not in repr(FilesResource(base_folder="s3://b", storage_options={"secret": CANARY}))
