"""JSON objects to a frame of text."""

import pandas as pd
import pytest

from etl_assets.accounting import SOURCE_POSITION
from etl_assets.connectors.records import frame_of_text, parse_json, select_records
from etl_assets.errors import SourceFormatError


def cells(text: str) -> list[object]:
    """The column `a` of a JSON array, with None for NULL."""
    records = select_records(parse_json(text, where="test"), None, where="test")
    column = frame_of_text(records, (f"record {number}" for number, _ in enumerate(records, start=1)))["a"]
    return [None if pd.isna(value) else value for value in column]


@pytest.mark.parametrize(
    "written",
    ["1.50", "1e400", "1E+2", "12345678901234567890", "-0", "-0.0", "0.1", "1" * 5000, "NaN", "Infinity"],
    ids=lambda written: written[:24],
)
def test_a_number_keeps_its_digits(written: str) -> None:
    """A number arrives with the digits it was written with."""
    assert cells(f'[{{"a": {written}}}]') == [written]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"1.50"', "1.50"),
        ('""', ""),
        ('"null"', "null"),
        ('"NA"', "NA"),
        ('"00501"', "00501"),
        ('"a\\nb"', "a\nb"),
        ('"Zürich \\u00e9 😀"', "Zürich é 😀"),
        ("true", "true"),
        ("false", "false"),
        ("null", None),
    ],
)
def test_a_scalar_arrives_as_text(written: str, expected: str | None) -> None:
    """Text stays as it is, booleans are JSON's words, null is NULL."""
    assert cells(f'[{{"a": {written}}}]') == [expected]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('{"x": 1.50}', '{"x": 1.50}'),
        ('{"x":[1.50,1e400,null,true,"é"]}', '{"x": [1.50, 1e400, null, true, "é"]}'),
        ("[12345678901234567890]", "[12345678901234567890]"),
        ('["1.50"]', '["1.50"]'),
        ('{"a\\"b": "c\\"d"}', '{"a\\"b": "c\\"d"}'),
        ("[]", "[]"),
        ("{}", "{}"),
    ],
)
def test_a_nested_value_stays_json(written: str, expected: str) -> None:
    """A nested value is JSON text, its numbers unquoted and with their digits."""
    assert cells(f'[{{"a": {written}}}]') == [expected]


def test_a_missing_key_is_null() -> None:
    """A key that a record lacks is NULL in its row."""
    assert cells('[{"a": 1}, {"b": 2}, {"a": null}]') == ["1", None, None]


def test_columns_come_in_order_of_appearance() -> None:
    """Columns stand in the order in which their keys first appear, the position last."""
    frame = frame_of_text([{"b": "1"}, {"c": "2", "a": "3", "b": "4"}], ["p1", "p2"])
    assert list(frame.columns) == ["b", "c", "a", SOURCE_POSITION]


def test_a_record_without_keys_keeps_its_row() -> None:
    """An empty object is a row of NULLs."""
    assert len(frame_of_text([{}, {"a": "1"}, {}], ["p1", "p2", "p3"])) == 3


def test_no_records_make_no_rows() -> None:
    """An empty list is an empty frame that still has the position."""
    assert frame_of_text([], []).shape == (0, 1)


def test_every_column_is_text() -> None:
    """All columns share the text dtype, one that is NULL throughout included."""
    frame = frame_of_text([{"a": "1", "b": None}], ["p1"])
    assert {str(dtype) for dtype in frame.dtypes} == {"str"}


@pytest.mark.parametrize(
    "text",
    ["", "<html>no</html>", '[{"a": 1}', '[{"a": 1}] trailing', "{'a': 1}", b'[{"a": "\xe9"}]'],
    ids=["empty", "html", "truncated", "trailing", "single quotes", "not UTF-8"],
)
def test_what_is_no_json_is_a_format_error(text: str | bytes) -> None:
    """Text that cannot be parsed is a format error of its source."""
    with pytest.raises(SourceFormatError, match="the source: this is no JSON"):
        parse_json(text, where="the source")


def test_a_value_too_deep_to_read_is_a_format_error() -> None:
    """Text that nests more than can be held is a format error of its source."""
    with pytest.raises(SourceFormatError, match="the source: a value is nested too deeply. Next: "):
        parse_json("[" * 100_000, where="the source")


@pytest.mark.parametrize("text", ['[{"a": 1, "b": 2, "a": 1}]', '[{"x": {"a": 1, "a": 2}}]'], ids=["record", "nested"])
def test_a_repeated_key_is_a_format_error(text: str) -> None:
    """An object that gives a key twice is refused: one of the values would vanish."""
    with pytest.raises(SourceFormatError, match=r"the source: an object repeats the keys \['a'\]"):
        parse_json(text, where="the source")


def test_a_value_too_deep_to_write_is_a_format_error() -> None:
    """A nested value that can be held but not written as text is a format error of its record."""
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(SourceFormatError, match="p1: a value is nested too deeply"):
        frame_of_text([{"a": value}], ["p1"])


def test_a_byte_order_mark_is_accepted() -> None:
    """JSON bytes may start with a byte order mark."""
    assert parse_json(b'\xef\xbb\xbf["x"]', where="test") == ["x"]


@pytest.mark.parametrize("record", ['{"a": "\\ud800"}', '{"a": ["\\ud800"]}', '{"a": 1, "\\ud800": 1}'], ids=["value", "nested", "key"])
def test_a_lone_surrogate_is_a_format_error(record: str) -> None:
    """A text that Unicode cannot encode is a format error, not an error of the codec."""
    with pytest.raises(SourceFormatError):
        cells(f"[{record}]")


def test_a_reserved_key_is_a_format_error() -> None:
    """A record that brings a key named like the position column is refused, not overwritten."""
    with pytest.raises(SourceFormatError, match=SOURCE_POSITION):
        frame_of_text([{SOURCE_POSITION: "mine"}], ["p1"])


def test_the_key_names_the_list() -> None:
    """With a key the records are the list it holds."""
    assert select_records({"rows": [{"a": "1"}], "n": "1"}, "rows", where="test") == [{"a": "1"}]


@pytest.mark.parametrize(
    ("document", "key", "said"),
    [
        ({"rows": []}, "data", r"there is nothing at 'data'; present: \['rows'\]"),
        ([{"a": 1}], "data", "there is nothing at 'data'; present: a list"),
        ({"rows": {"a": 1}}, "rows", "a list of objects is needed, found a dict"),
        ({"rows": []}, None, "a list of objects is needed, found a dict"),
        (None, None, "a list of objects is needed, found a NoneType"),
        ([{"a": 1}, 2], None, "found a list whose items are not all objects"),
        ([[1, 2]], None, "found a list whose items are not all objects"),
    ],
)
def test_what_holds_no_list_of_objects_is_a_format_error(document: object, key: str | None, said: str) -> None:
    """The message says what was found where the list of objects should be."""
    with pytest.raises(SourceFormatError, match=said):
        select_records(document, key, where="test")
