"""JSON and JSON lines: digits kept, nested values, records found by a path, and lines that are no objects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.connectors.files import FilesResource
from etl_assets.connectors.records import parse_json_lines
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets_tests.connectors.file_reading import accounted, positions_of, put, rows_of, unreadable_of


@pytest.fixture
def files(tmp_path: Path) -> FilesResource:
    """Files below an empty folder."""
    return FilesResource(base_folder=str(tmp_path))


def deep(depth: int, value: str = "1") -> str:
    """Objects inside each other."""
    return '{"a":' * depth + value + "}" * depth


# -- JSON lines: what arrives ------------------------------------------------------------------------------------------


def test_lines_arrive_as_text(files: FilesResource, tmp_path: Path) -> None:
    """Numbers keep their digits, nested values stay JSON, null and missing keys are NULL."""
    put(tmp_path, "a.jsonl", '{"a": 1.50, "b": {"x": [1e400]}}\n{"a": null, "b": 12345678901234567890}\n{"b": "NA"}\n')
    assert rows_of(files.read_json_lines("a.jsonl")) == [["1.50", '{"x": [1e400]}'], [None, "12345678901234567890"], [None, "NA"]]


@pytest.mark.parametrize(
    "content",
    [
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1}\n{"a": 2}',
        '{"a": 1}\r\n{"a": 2}\r\n',
        '{"a": 1}\r{"a": 2}\r',
        '\ufeff{"a": 1}\n{"a": 2}\n',
        '  {"a": 1}  \n\t{"a": 2}\n',
        '{"a"\t:\t1}\n{"a":2}\n',
    ],
    ids=["LF", "no last line end", "CRLF", "CR", "BOM", "blanks around", "blanks inside"],
)
def test_lines_may_be_written_in_any_way(files: FilesResource, tmp_path: Path, content: str) -> None:
    """Line ends, blanks and a byte order mark change nothing."""
    put(tmp_path, "a.jsonl", content)
    assert rows_of(files.read_json_lines("a.jsonl")) == [["1"], ["2"]]


def test_blank_lines_are_nothing_and_count(files: FilesResource, tmp_path: Path) -> None:
    """A line of blanks is no record; positions count it all the same."""
    put(tmp_path, "a.jsonl", '\n{"a": 1}\n  \t\n\r\n{"a": 2}\n\n')
    frame, account = accounted(lambda: files.read_json_lines("a.jsonl"))
    assert (positions_of(frame), account.rows_read) == (["a.jsonl line 2", "a.jsonl line 5"], 2)


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"], ids=ascii)
def test_only_newlines_end_a_line(files: FilesResource, tmp_path: Path, character: str) -> None:
    """A character that only Unicode counts as a line break ends no line."""
    value = json.dumps(f"x{character}y", ensure_ascii=ord(character) < 32)
    put(tmp_path, "a.jsonl", f'{{"a": {value}}}\n{{"a": "z"}}\n')
    assert rows_of(files.read_json_lines("a.jsonl")) == [[f"x{character}y"], ["z"]]


def test_an_empty_file_has_no_rows(files: FilesResource, tmp_path: Path) -> None:
    """A file of nothing is no error: no rows came."""
    put(tmp_path, "a.jsonl", "")
    frame, account = accounted(lambda: files.read_json_lines("a.jsonl"))
    assert (len(frame), account.rows_read, len(account.reads)) == (0, 0, 1)


def test_files_of_lines_may_have_other_keys(files: FilesResource, tmp_path: Path) -> None:
    """The columns are all keys of all files, the position last."""
    put(tmp_path, "1.jsonl", '{"a": 1}\n')
    put(tmp_path, "2.jsonl", '{"b": 2}\n')
    frame = files.read_json_lines("*.jsonl")
    assert (list(frame.columns), rows_of(frame)) == (["a", "b", "source_position"], [["1", None], [None, "2"]])


# -- JSON lines: what cannot be read -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        '{"a": 1',
        '{"a": 1}}',
        '{"a": 1} {"a": 2}',
        '{"a": 1},',
        "{'a': 1}",
        '{"a": 01}',
        '{"a": 1,}',
        '{"a": "x\ty"}',
        '{"a": nul}',
        "[1, 2]",
        '[{"a": 1}]',
        "1",
        '"text"',
        "null",
        "true",
        "NaN",
        "# a comment",
        "\xa0",
        "\x1c",
        '{"a": 1, "a": 2}',
        '{"x": {"a": 1, "a": 2}}',
        '{"a": "\\ud800"}',
        '{"source_position": 1}',
        deep(100_000),
        "[" * 100_000,
        '{"a": ' + "[" * 900 + "]" * 900 + "}",
    ],
    ids=[
        "cut", "a brace too many", "two objects", "comma after", "single quotes", "leading zero", "comma inside", "tab in a text", "typo",
        "list", "list of objects", "number", "text", "null", "true", "NaN", "comment", "blank that is none", "control character",
        "key twice", "nested key twice", "no Unicode", "reserved key", "objects too deep", "lists too deep", "too deep to write",
    ],
)  # fmt: skip
def test_a_line_that_is_no_object_leaves_its_neighbours(files: FilesResource, tmp_path: Path, broken: str) -> None:
    """It is kept with number and text, and the lines before and after it are read."""
    put(tmp_path, "a.jsonl", f'{{"a": 1}}\n{broken}\n{{"a": 3}}\n')
    frame, account = accounted(lambda: files.read_json_lines("a.jsonl"))
    assert (rows_of(frame), unreadable_of(account)) == ([["1"], ["3"]], [("a.jsonl line 2", broken, "json")])


def test_a_line_that_is_no_object_is_an_error_where_nobody_listens(files: FilesResource, tmp_path: Path) -> None:
    """Outside an asset it is a format error with its line, reason and text."""
    put(tmp_path, "a.jsonl", '{"a": 1}\n[2]\n')
    with pytest.raises(SourceFormatError, match=r"a.jsonl line 2: this is a list, not an object: '\[2\]'"):
        files.read_json_lines("a.jsonl")


_lines = st.text(st.sampled_from('{}[]":,a1 \n\r\0')) | st.lists(
    st.dictionaries(st.sampled_from(["a", "b"]), st.integers() | st.text(max_size=3) | st.none() | st.lists(st.integers())).map(json.dumps)
).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(text=_lines)
def test_each_line_is_a_record_unreadable_or_blank(text: str) -> None:
    """Of any text, each line is a record, or unreadable with its very text, or blank."""
    lines = list(enumerate(text.split("\n"), start=1))
    found = parse_json_lines(lines, where="a")
    blank = [number for number, line in lines if not line.strip(" \t\r\n")]
    seen = {int(row.position.removeprefix("a line ")): row.raw for row in found.unreadable}
    assert sorted([*found.numbers, *seen, *blank]) == [number for number, _ in lines]
    assert all(raw == dict(lines)[number].rstrip("\r\n") for number, raw in seen.items())
    assert len(found.records) == len(found.numbers)


@settings(max_examples=100, deadline=None)
@given(numbers=st.lists(st.integers() | st.decimals(allow_nan=False, allow_infinity=False).map(str), min_size=1, max_size=5))
def test_numbers_keep_their_digits(tmp_path_factory: pytest.TempPathFactory, numbers: list[Any]) -> None:
    """Any number arrives as the text it was written with."""
    folder = tmp_path_factory.getbasetemp() / "digits"
    texts = [str(number) for number in numbers]
    put(folder, "a.jsonl", "".join(f'{{"n": {text}}}\n' for text in texts))
    assert rows_of(FilesResource(base_folder=str(folder)).read_json_lines("a.jsonl")) == [[text] for text in texts]


# -- JSON lines: batches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 1000])
def test_batches_of_lines_are_the_whole(files: FilesResource, tmp_path: Path, rows: int) -> None:
    """Batches of any size give the rows and positions of a whole read, and account for the same."""
    put(tmp_path, "1.jsonl", '{"a": 1}\n\n{"a": 2}\nbroken\n{"a": 3, "b": 4}\n')
    put(tmp_path, "2.jsonl", '[]\n{"b": 5}\n\n')
    frame, expected = accounted(lambda: files.read_json_lines("*.jsonl"))
    frames: list[Any] = []
    _, account = accounted(lambda: frames.extend(files.read_json_lines_batches("*.jsonl", rows=rows)))
    together = [cells for batch in frames for cells in rows_of(batch.reindex(columns=frame.columns))]
    assert (together, [place for batch in frames for place in positions_of(batch)]) == (rows_of(frame), positions_of(frame))
    assert (account.unreadable, account.reads) == (expected.unreadable, expected.reads)
    assert max(map(len, frames)) <= rows


# -- flatten -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["read_json", "read_json_lines"])
def read(request: pytest.FixtureRequest, files: FilesResource, tmp_path: Path) -> Callable[..., Any]:
    """Reads objects, each written as JSON, from a file of either kind."""

    def read_objects(*objects: str, **options: Any) -> Any:
        lines = request.param == "read_json_lines"
        put(tmp_path, "a", "\n".join(objects) if lines else f"[{','.join(objects)}]")
        return getattr(files, request.param)("a", **options)

    return read_objects


@pytest.mark.parametrize(
    ("separator", "names"),
    [("_", ["a_b", "a_c_d", "e"]), (".", ["a.b", "a.c.d", "e"]), ("__", ["a__b", "a__c__d", "e"]), ("", ["ab", "acd", "e"])],
)
def test_nested_objects_become_columns(read: Callable[..., Any], separator: str, names: list[str]) -> None:
    """Each nested value has a column named by its path, with the declared separator."""
    frame = read('{"a": {"b": 1.0, "c": {"d": "x"}}, "e": null}', flatten=separator)
    assert (list(frame.columns[:-1]), rows_of(frame)) == (names, [["1.0", "x", None]])


def test_lists_and_empty_objects_stay_values(read: Callable[..., Any]) -> None:
    """What has no names inside is a value, as JSON."""
    assert rows_of(read('{"a": {"b": [{"c": 1}], "d": {}, "e": []}}', flatten="_")) == [['[{"c": 1}]', "{}", "[]"]]


def test_without_flatten_nested_objects_stay_json(read: Callable[..., Any]) -> None:
    """Nothing is flattened unless asked for."""
    assert rows_of(read('{"a": {"b": 1.0}}')) == [['{"b": 1.0}']]


def test_records_may_be_nested_in_some_rows_only(read: Callable[..., Any]) -> None:
    """A value that is an object here and none there has the columns of both."""
    frame = read('{"a": {"b": 1}}', '{"a": 2}', '{"a": null}', flatten="_")
    assert (list(frame.columns[:-1]), rows_of(frame)) == (["a_b", "a"], [["1", None], [None, "2"], [None, None]])


CLASHES = ['{"a": {"b": 1}, "a_b": 2}', '{"a_b": 2, "a": {"b": 1}}', '{"a": {"b_c": 1}, "a_b": {"c": 2}}', '{"source": {"position": 1}}']


@pytest.mark.parametrize("clash", CLASHES, ids=["then", "before", "both nested", "reserved"])
def test_a_clash_of_names_in_a_line_makes_it_unreadable(files: FilesResource, tmp_path: Path, clash: str) -> None:
    """Of two values with one name none is lost: the line is kept as it is, and the others are read."""
    put(tmp_path, "a.jsonl", f'{{"x": 1}}\n{clash}\n{{"x": 3}}\n')
    frame, account = accounted(lambda: files.read_json_lines("a.jsonl", flatten="_"))
    assert (rows_of(frame), unreadable_of(account)) == ([["1"], ["3"]], [("a.jsonl line 2", clash, "json")])


@pytest.mark.parametrize("depth", [100, 400, 600, 800, 900, 950, 1000, 2000])
def test_a_deep_line_is_flattened_or_unreadable(files: FilesResource, tmp_path: Path, depth: int) -> None:
    """However deep an object is, its line is a row or is kept, and the lines around it are read."""
    put(tmp_path, "a.jsonl", f'{{"x": 1}}\n{deep(depth)}\n{{"x": 3}}\n')
    frame, account = accounted(lambda: files.read_json_lines("a.jsonl", flatten="_"))
    assert (len(frame) + len(account.unreadable), frame["x"].dropna().tolist()) == (3, ["1", "3"])


@pytest.mark.parametrize("clash", CLASHES)
def test_a_clash_of_names_in_an_array_is_an_error(files: FilesResource, tmp_path: Path, clash: str) -> None:
    """The message names the record."""
    put(tmp_path, "a.json", f'[{{"x": 1}}, {clash}]')
    with pytest.raises(SourceFormatError, match="a.json record 2: "):
        files.read_json("a.json", flatten="_")


def test_another_separator_keeps_names_apart(read: Callable[..., Any]) -> None:
    """What clashes with one separator may not with another."""
    assert rows_of(read(CLASHES[0], flatten=".")) == [["1", "2"]]


# -- arrays ------------------------------------------------------------------------------------------------------------

DOCUMENT = """{"n": 3, "data": {"rows": [{"id": 1, "v": 1.50}, {"id": 20, "v": null}]}, "odd-name": [{"id": 5}],
"shops": [{"name": "x", "orders": [{"id": 1}, {"id": 2}]}, {"name": "y", "orders": []}, {"name": "z", "orders": [{"id": 3}]}]}"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data.rows", [["1", "1.50"], ["20", None]]),
        ('"odd-name"', [["5"]]),
        ("shops[].orders[]", [["1"], ["2"], ["3"]]),
        ("shops[0].orders", [["1"], ["2"]]),
        ("shops[].{shop: name, first: orders[0].id}", [["x", "1"], ["y", None], ["z", "3"]]),
        ("data.rows[?id == `20`]", [["20", None]]),
        ("data.rows[?id > `3`]", [["20", None]]),
        ("data.rows[?id < `20`]", [["1", "1.50"]]),
        ("data.rows[?v == `1.5`]", [["1", "1.50"]]),
        ("data.rows[?id != `1`]", [["20", None]]),
        ("data.rows[?id == '20']", [["20", None]]),
        ("shops[?name >= 'y'].{n: name}", [["y"], ["z"]]),
        ("shops[1].orders", []),
    ],
)
def test_a_path_finds_the_records(files: FilesResource, tmp_path: Path, path: str, expected: list[list[str | None]]) -> None:
    """Records are found by JMESPath; in its filters numbers are numbers, and in the rows they keep their digits."""
    put(tmp_path, "a.json", DOCUMENT)
    assert rows_of(files.read_json("a.json", records=path)) == expected


def test_a_filter_compares_numbers_exactly(files: FilesResource, tmp_path: Path) -> None:
    """Neighbours beyond 2**53 are told apart."""
    put(tmp_path, "a.json", '[{"id": 9007199254740992}, {"id": 9007199254740993}]')
    assert rows_of(files.read_json("a.json", records="[?id > `9007199254740992`]")) == [["9007199254740993"]]


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("data.", ConfigurationError, "no JMESPath expression"),
        ("odd-name", ConfigurationError, "no JMESPath expression"),
        ("shops[?name > `3`]", ConfigurationError, "not supported between"),
        ("sum(shops)", ConfigurationError, "no JMESPath expression"),
        ("data", SourceFormatError, "found a dict"),
        ("n", SourceFormatError, "found a number"),
        ("data.row", SourceFormatError, r"nothing at 'data.row'; present: \['data', 'n', 'odd-name', 'shops'\]"),
        ("shops[].name", SourceFormatError, "items are not all objects"),
    ],
)
def test_a_path_that_finds_no_records_is_an_error(
    files: FilesResource, tmp_path: Path, path: str, error: type[Exception], said: str
) -> None:
    """The message tells an expression that cannot be read from a document that is another one."""
    put(tmp_path, "a.json", DOCUMENT)
    with pytest.raises(error, match=said):
        files.read_json("a.json", records=path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "a.json: a value is nested too deeply"),
        (f"[{deep(100_000)}]", "a.json: a value is nested too deeply"),
        ('[{"a": ' + "[" * 900 + "]" * 900 + "}]", "a.json record 1: a value is nested too deeply"),
        ('[{"a": 1, "a": 2}]', r"an object repeats the keys \['a'\]"),
        ('[{"a": "\\ud800"}]', "a.json record 1: a text is no Unicode"),
        ('[{"source_position": 1}]', "source_position"),
        ('[{"a": 1}', "this is no JSON"),
        ('[{"a": 1}]]', "this is no JSON"),
        ('{"a": 1}\n{"a": 2}\n', "this is no JSON"),
    ],
    ids=["lists too deep", "objects too deep", "too deep to write", "key twice", "no Unicode", "reserved", "cut", "too much", "lines"],
)
def test_an_array_that_cannot_be_read_is_refused(files: FilesResource, tmp_path: Path, content: str, said: str) -> None:
    """A document is read wholly or not at all."""
    put(tmp_path, "a.json", content)
    with pytest.raises(SourceFormatError, match=said):
        accounted(lambda: files.read_json("a.json"))


@pytest.mark.parametrize("written", ["1" * 5000, "-0", "1E+2", "1.10", "0.1e-7", "NaN", "Infinity", "-Infinity"], ids=lambda text: text[:8])
def test_odd_numbers_keep_their_letters(read: Callable[..., Any], written: str) -> None:
    """Huge integers, signed zeros, exponents, and what JSON does not know but programs write."""
    assert rows_of(read(f'{{"a": {written}}}')) == [[written]]
