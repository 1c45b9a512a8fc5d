"""JSON lines that are a table: what is cut out of them is what reading line by line gives, and whatever is no table is left."""

import io
import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl_assets.connectors.json_table import table_of
from etl_assets.connectors.records import parse_json_lines

NUMBERS = ["0", "-0", "7", "-12", "1.50", "1e2", "1E-7", "12345678901234567890123", "null", "true", "false"]
TEXTS = [
    '"x"', '""', '"null"', '"7"', '"a,b"', '"12:30"', '","', '", "', '"}"', '"é 🚀"', '"\x7f"', '"\u2028"', "null",
    r'"\""', r'"\\"', r'"\\\""', r'"\":"', r'"{\"k\": 1}"', r'"\u00e9\n\t\/"', r'"\ud83d\ude00"', r'"\u0000"',
]  # fmt: skip
ODD = [
    "01", "1.", ".5", "+1", "-", "NaN", "Infinity", "1 ", "True", "nul", "nulls", "nnull", "nulx", "x", "", "[]", "{}", "[1]", '{"k":1}',
    '"', '"xy', '"a"b"', '"a" ', '":"', '":x"', r'"\\":"b"', r'"\\","\\":"b"', r'"\ud800"', r'"\udc00"', r'"\n","x" :"b"', '1,"x" :2',
    r'"\x"', r'"\"', '"\t"',
]  # fmt: skip
KEYS = ["n", "m", "é", "a b", "an_identifier_of_some_length", "k,", "{", "a:b", ":b", r"q\"n", r"n\\", r"\u0061", r"\ud800"]


def cut(content: str | bytes) -> pa.Table | None:
    """The table in some lines."""
    data = content.encode() if isinstance(content, str) else content
    found = [match.span() for match in re.finditer(rb"[^\r\n]+", data)]
    return table_of(bytearray(data), *(pa.array(places).to_numpy() for places in zip(*found, strict=True)))


def told(table: pa.Table) -> list[dict[str, Any]]:
    table.validate(full=True)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def by_lines(content: str) -> list[dict[str, str | None]] | None:
    """The rows as reading line by line has them; None where a line is no object."""
    found = parse_json_lines(enumerate(io.StringIO(content, newline=""), start=1), where="a.jsonl")
    return None if found.unreadable else [dict(row) for row in found.rows]


@st.composite
def tables(draw: st.DrawFn) -> str:
    """Lines with the same keys, whose values in a column are of one kind; in one line there may be others, and anywhere a mistake."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4))
    columns = [draw(st.sampled_from([NUMBERS, TEXTS])) for _ in keys]
    count = draw(st.integers(1, 6))
    odd = draw(st.integers(0, 2 * count))
    lines = []
    comma, colon = draw(st.sampled_from([(",", ":"), (",", ":"), (", ", ": "), (",", ": ")]))
    for line in range(count):
        values = [draw(st.sampled_from([*column, *ODD] if line == odd else column)) for column in columns]
        pairs = [f'"{key}"{colon}{value}' for key, value in zip(keys, values, strict=True)]
        lines.append("{" + comma.join(pairs) + "}" + draw(st.sampled_from(["\n", "\n", "\r\n", "\n\n"])))
    content = "".join(lines)
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(content) - 1))
        content = content[:place] + draw(st.sampled_from(['"', ":", ",", "\\", " ", "{", "}", "", "x"])) + content[place + 1 :]
    return content


@given(tables())
@example('{"n":"x","m":2}\n{"n":"a\\\\","\\\\":"b","m":1}\n')
@example('{"n":1,"m":2}\n{"x" {"n":1,"m":2}\n')
@example('{"n":1}\n{"n":1,"n":2}\n')
@settings(max_examples=3000, deadline=None)
def test_a_table_is_what_lines_give(content: str) -> None:
    """Where there is a table it has the same texts; where a line is wrong there is none."""
    lines = [line for line in re.split(r"[\r\n]+", content) if line]
    if all(line.startswith("{") and line.endswith("}") for line in lines) and (table := cut(content)) is not None:
        rows = by_lines(content)
        assert told(table) == rows
        assert rows is not None
        assert table.column_names == list(rows[0])


TABLES = {
    "compact": '{"n":1.50,"t":"x"}\n{"n":-0,"t":"y"}\n',
    "with spaces": '{"n": 1e5, "t": "x, y: z"}\r\n{"n": 12345678901234567890, "t": ""}\r\n',
    "without a line break at its end": '{"n":1}\n{"n":2}',
    "blank lines": '{"n":1}\n\n\n{"n":2}\n',
    "nulls": '{"n":null,"t":"null","b":true,"o":null}\n{"n":7,"t":null,"b":null,"o":null}\n',
    "escapes": '{"a":"\\"k\\": 1","b":"\\\\","c":"x"}\n{"a":"\\u00e9\\ud83d\\ude00\\n","b":null,"c":"12:30"}\n',
    "keys beyond ASCII": '{"é":"ü","a b":1}\n{"é":"🚀","a b":2}\n',
    "text that looks like JSON": '{"a":",\\"b\\":1","b":"}"}\n{"a":"{","b":"[],"}\n',
    "keys with escapes": '{"q\\"n":1,"a:b":2}\n{"q\\"n":3,"a:b":4}\n',
    "a long key": f'{{"{"k" * 300}":1,"a":2}}\n' * 3,
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES.keys())
def test_what_is_a_table(content: str) -> None:
    """Files as programs write them are tables, whatever their text holds."""
    table = cut(content)
    assert table is not None
    assert told(table) == by_lines(content)


NO_TABLES = {
    "other keys": '{"a":1,"b":2}\n{"a":1,"c":2}\n',
    "another order": '{"a":1,"b":2}\n{"b":1,"a":2}\n',
    "a key that is missing": '{"a":1,"b":2}\n{"a":1}\n',
    "a key in another object's place": '{"a":1,"b":2}\n{"a":1}\n{"a":1,"b":2,"c":3}\n',
    "a key twice": '{"a":1,"a":2}\n',
    "a key with escapes that it does not need": '{"\\u0061":1}\n',
    "nested values": '{"a":{"b":1}}\n',
    "a list": '{"a":[1]}\n',
    "kinds that differ": '{"a":1}\n{"a":"x"}\n',
    "another style": '{"a":1,"b":2}\n{"a": 1,"b":2}\n',
    "a zero before a number": '{"a":1}\n{"a":01}\n',
    "a point at the end": '{"a":1}\n{"a":1.}\n',
    "a word": '{"a":"x"}\n{"a":x}\n',
    "half a word": '{"a":1}\n{"a":nul}\n',
    "a quote in text": '{"a":"x"}\n{"a":"x"y"}\n',
    "a key with half a pair of surrogates": '{"\\ud800":1}\n',
    "a key that looks like none": f'{{"a":":x","{"k" * 300}\\\\":1}}\n',
    "no value": '{"a":1}\n{"a":}\n',
    "a word that ends like null": '{"a":null}\n{"a":nnull}\n',
    "a word that begins like null": '{"a":null}\n{"a":nulx}\n',
    "text that another key ends": '{"a":"x","b":1}\n{"a":"xy,"b":1}\n',
    "text with another key": '{"a":"x"}\n{"a":"x\\\\","\\\\":"y"}\n',
    "a key with a space behind it, after text with escapes": '{"a":"\\n"}\n{"a":"\\n","x" :"b"}\n',
    "the same, deeply nested": '{"a":"\\n"}\n{"a":"\\n","x" :' + "[" * 50_000 + "]" * 50_000 + ',"y" :"b"}\n',
    "a quote at the start of text, after one that ends with a backslash": '{"a":"\\\\"}\n{"a":""x"}\n',
    "text without an end": '{"a":"x"}\n{"a":"}\n',
    "an escape that JSON has not": '{"a":"x"}\n{"a":"\\x"}\n',
    "half a pair of surrogates": '{"a":"x"}\n{"a":"\\ud800"}\n',
    "a tab in text": '{"a":"x"}\n{"a":"\t"}\n',
    "something before the key": '{"a":1}\n{"x" {"a":1}\n',
    "bytes that are not UTF-8": b'{"a":"x"}\n{"a":"\xe9"}\n',
}


@pytest.mark.parametrize("content", NO_TABLES.values(), ids=NO_TABLES.keys())
def test_what_is_no_table(content: str | bytes) -> None:
    """One line that is otherwise leaves all to other readers."""
    assert cut(content) is None
