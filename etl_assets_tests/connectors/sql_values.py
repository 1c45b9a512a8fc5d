"""What databases hold, and what a frame shall hold of it: one table of cases per database, for the tests of every connector.

A case is a column type with its values; its table has the rows of the values in order, a NULL at the second place. A server of
another version or vendor takes the cases of its dialect: `table_of` gives the statements, `Case.shown` what is to be found.

Not here: how the databases are started, and what is asserted.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

Timestamp = pd.Timestamp


@dataclass(frozen=True, kw_only=True)
class Case:
    """A column type and its values.

    Attributes:
        name: Of the case, and of its table.
        type: The type as CREATE TABLE takes it.
        dtype: What the column of the frame has.
        values: SQL of a value, and the value that arrives, its Python type included.
        setup: Statements that come before the table.
    """

    name: str
    type: str
    dtype: str
    values: tuple[tuple[str, Any], ...]
    setup: tuple[str, ...] = ()

    @property
    def shown(self) -> list[str]:
        """The cells of the column, as `cells` shows them."""
        arriving = [value for _, value in self.values]
        return shown([arriving[0], None, *arriving[1:]], self.dtype)


def table_of(case: Case) -> list[str]:
    """The statements that make the table of a case: `place` counts the rows from 1, `v` is the value."""
    literals = [literal for literal, _ in case.values]
    rows = ", ".join(f"({place}, {literal})" for place, literal in enumerate([literals[0], "NULL", *literals[1:]], 1))
    return [*case.setup, f"CREATE TABLE {case.name} (place int, v {case.type})", f"INSERT INTO {case.name} VALUES {rows}"]


def cells(column: "pd.Series[Any]") -> list[str]:
    """Python type and every digit of each value; NULL for a missing one, which a float column cannot tell from NaN."""
    return shown(column.tolist(), str(column.dtype))


def shown(values: Sequence[Any], dtype: str) -> list[str]:
    """The same of plain values that a column of this dtype holds."""
    return [_shown(value, dtype) for value in values]


def _shown(value: Any, dtype: str) -> str:
    is_nan = isinstance(value, float) and math.isnan(value)
    if value is None or value is pd.NA or value is pd.NaT or (is_nan and dtype == "str"):
        return "float nan" if dtype.startswith("float") else "NULL"
    return f"{type(value).__name__} {value!r}"


def quoted(text: str) -> str:
    """A text as a literal of standard SQL, where a backslash is a backslash."""
    return "'" + text.replace("'", "''") + "'"


# -- values that all databases share -----------------------------------------------------------------------------------

INTEGERS = tuple((str(number), number) for number in (9007199254740993, -9223372036854775807, 9223372036854775807, 0))
TEXTS = (
    "", " ", "it's", '"quoted"', "a,b", "\n", "\r\n", "\t", "\\N", "\\", "\\x00", "NULL", "nan", "{1,2}", "%s %(v)s :v ?",
    "é", "e\u0301", "😀", "\u2028", "\ufeff", "中文", "ends with blanks  ",
)  # fmt: skip
DATES = tuple((f"'{day}'", datetime.date.fromisoformat(day)) for day in ("0001-01-01", "1582-10-10", "2024-02-29", "9999-12-31"))
MOMENTS = tuple(
    (f"'{text}'", Timestamp(text))
    for text in ("0001-01-01 00:00:00", "1969-12-31 23:59:59.999999", "2013-01-31 04:05:06.000001", "9999-12-31 23:59:59.999999")
)
CLOCKS = tuple((f"'{text}'", datetime.time.fromisoformat(text)) for text in ("00:00:00", "04:05:06.000001", "23:59:59.999999"))
INSTANTS = (
    ("'2013-01-31 04:05:06.000001-05:00'", Timestamp("2013-01-31T09:05:06.000001Z")),
    ("'2013-11-03 01:30:00-04:00'", Timestamp("2013-11-03T05:30:00Z")),
    ("'2013-11-03 01:30:00-05:00'", Timestamp("2013-11-03T06:30:00Z")),
    ("'9999-12-31 23:59:59.999999+00:00'", Timestamp("9999-12-31T23:59:59.999999Z")),
)
DOUBLES = (0.1, 5e-324, 1.7976931348623157e308, -1.5, 9007199254740993.0)
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
MINUS_ZERO = -0.0


# -- PostgreSQL --------------------------------------------------------------------------------------------------------

POSTGRESQL = (
    Case(name="bigint", type="bigint", dtype="Int64", values=(*INTEGERS, ("-9223372036854775808", -(2**63)))),
    Case(name="integer", type="integer", dtype="Int32", values=(("2147483647", 2**31 - 1), ("-2147483648", -(2**31)))),
    Case(name="smallint", type="smallint", dtype="Int16", values=(("32767", 2**15 - 1), ("-32768", -(2**15)))),
    Case(
        name="unsigned", type="numeric(20,0)", dtype="object",
        values=(("18446744073709551615", Decimal(2**64 - 1)), ("9223372036854775808", Decimal(2**63)), ("0", Decimal(0))),
    ),
    Case(
        name="money_like", type="numeric(38,10)", dtype="object",
        values=(
            ("1234567890123456789012345678.0123456789", Decimal("1234567890123456789012345678.0123456789")),
            ("-0.0000000001", Decimal("-0.0000000001")),
            ("1.5", Decimal("1.5000000000")),
            ("0", Decimal("0E-10")),
        ),
    ),
    Case(
        name="unconstrained", type="numeric", dtype="object",
        values=(
            ("1.50", Decimal("1.50")),
            ("1.5", Decimal("1.5")),
            ("1e-30", Decimal("1E-30")),
            ("'NaN'", Decimal("NaN")),
            ("'Infinity'", Decimal("Infinity")),
            (f"{'9' * 60}.{'1' * 60}", Decimal(f"{'9' * 60}.{'1' * 60}")),
        ),
    ),
    Case(
        name="double", type="double precision", dtype="float64",
        values=(
            *((repr(number), number) for number in DOUBLES),
            ("'NaN'", math.nan), ("'Infinity'", math.inf), ("'-Infinity'", -math.inf), ("'-0'", MINUS_ZERO),
        ),
    ),
    Case(
        name="single", type="real", dtype="float32",
        values=(("1.5", 1.5), ("0.1", 0.10000000149011612), ("3.4028235e38", 3.4028234663852886e38), ("1e-45", 1.401298464324817e-45),
                ("'-Infinity'", -math.inf)),
    ),
    Case(name="flag", type="boolean", dtype="boolean", values=(("true", True), ("false", False))),
    Case(name="note", type="text", dtype="str", values=tuple((quoted(text), text) for text in TEXTS)),
    Case(name="short", type="varchar(3)", dtype="str", values=(("'x'", "x"), ("''", ""), ("'é😀'", "é😀"))),
    Case(name="padded", type="char(3)", dtype="str", values=(("'x'", "x  "), ("''", "   "))),
    Case(name="day", type="date", dtype="object", values=DATES),
    Case(name="local", type="timestamp", dtype="datetime64[us]", values=MOMENTS),
    Case(name="instant", type="timestamptz", dtype="datetime64[us, UTC]", values=INSTANTS),
    Case(name="clock", type="time", dtype="object", values=CLOCKS),
    Case(name="zoned_clock", type="timetz", dtype="str", values=(("'04:05:06.5-05:30'", "04:05:06.5-05:30"), ("'00:00Z'", "00:00:00+00"))),
    Case(
        name="span", type="interval", dtype="str",
        values=(("'1 year 2 months 3 days 04:05:06.000007'", "1 year 2 mons 3 days 04:05:06.000007"), ("'0'", "00:00:00"),
                ("'-1 day'", "-1 days")),
    ),
    Case(name="raw", type="bytea", dtype="object", values=((r"'\x00ff0a22'", b'\x00\xff\n"'), (r"'\x'", b""), (r"'\x00'", b"\x00"))),
    Case(
        name="numbers", type="integer[]", dtype="str",
        values=(("'{1,NULL,3}'", "{1,NULL,3}"), ("'{}'", "{}"), ("'{{1},{2}}'", "{{1},{2}}")),
    ),
    Case(
        name="words", type="text[]", dtype="str",
        values=(("""ARRAY['a"b', 'c,d', '', NULL]""", r'{"a\"b","c,d","",NULL}'), ("'{}'", "{}")),
    ),
    Case(
        name="json_text", type="json", dtype="str",
        values=(("""'{"b":  1.50, "b": 2}'""", '{"b":  1.50, "b": 2}'), ("'null'", "null"), ("""'"é😀"'""", '"é😀"')),
    ),
    Case(
        name="json_binary", type="jsonb", dtype="str",
        values=(("""'{"b":  1.50, "a": [null]}'""", '{"a": [null], "b": 1.50}'), ("'null'", "null"),
                ("'9007199254740993'", "9007199254740993")),
    ),
    Case(name="key", type="uuid", dtype="str", values=((f"'{UUID.upper()}'", UUID),)),
    Case(
        name="mood_of", type="mood", dtype="str", values=(("'it''s so'", "it's so"), ("''", "")),
        setup=("CREATE TYPE mood AS ENUM ('it''s so', '')",),
    ),
    Case(
        name="positive_of", type="positive", dtype="Int32", values=(("1", 1),),
        setup=("CREATE DOMAIN positive AS int CHECK (VALUE > 0)",),
    ),
    Case(name="address", type="inet", dtype="str", values=(("'10.0.0.1/8'", "10.0.0.1/8"), ("'::1'", "::1"))),
    Case(name="bits", type="bit(3)", dtype="str", values=(("B'101'", "101"),)),
)  # fmt: skip


# -- SQLite: the type belongs to the value, not to the column ----------------------------------------------------------

SQLITE = (
    Case(name="bigint", type="INTEGER", dtype="Int64", values=(*INTEGERS, ("-9223372036854775807 - 1", -(2**63)))),
    Case(name="unsigned", type="INTEGER", dtype="float64", values=(("18446744073709551615", 18446744073709551615.0), ("1", 1.0))),
    Case(name="unsigned_text", type="TEXT", dtype="str", values=(("'18446744073709551615'", "18446744073709551615"), ("'1'", "1"))),
    Case(name="money_like", type="DECIMAL(38,10)", dtype="float64", values=(("1.5", 1.5), ("'2.50'", 2.5), ("3", 3.0))),
    Case(name="whole_money", type="NUMERIC", dtype="Int64", values=(("3.0", 3), ("'4'", 4))),
    Case(name="digits", type="TEXT", dtype="str", values=(("'1.50'", "1.50"), (quoted("9" * 60), "9" * 60))),
    Case(
        name="double", type="REAL", dtype="float64",
        values=(*((repr(number), number) for number in DOUBLES), ("9e999", math.inf), ("-9e999", -math.inf)),
    ),
    Case(name="minus_zero", type="BLOB", dtype="float64", values=(("-0.0", MINUS_ZERO), ("0.0", 0.0))),
    Case(name="flag", type="BOOLEAN", dtype="Int64", values=(("TRUE", 1), ("FALSE", 0))),
    Case(name="note", type="TEXT", dtype="str", values=tuple((quoted(text), text) for text in TEXTS)),
    Case(name="nul_byte", type="TEXT", dtype="str", values=(("CAST(x'610062' AS TEXT)", "a\0b"), ("'a'", "a"))),
    Case(name="undeclared", type="", dtype="str", values=(("'1'", "1"), ("''", ""))),
    Case(name="day", type="DATE", dtype="str", values=(("'0001-01-01'", "0001-01-01"), ("'9999-12-31'", "9999-12-31"))),
    Case(name="local", type="TIMESTAMP", dtype="str", values=(("'2013-01-31 04:05:06.000001'", "2013-01-31 04:05:06.000001"),)),
    Case(name="raw", type="BLOB", dtype="object", values=(("x'00ff0a22'", b'\x00\xff\n"'), ("x''", b""), ("x'00'", b"\x00"))),
    Case(name="json_text", type="JSON", dtype="str", values=(("""'{"b":  1.50}'""", '{"b":  1.50}'), ("'null'", "null"))),
    Case(name="whole_and_broken", type="", dtype="float64", values=(("1", 1.0), ("0.5", 0.5), ("9007199254740992", 2.0**53))),
    Case(name="large_and_broken", type="", dtype="object", values=(("9007199254740993", 2**53 + 1), ("0.5", 0.5))),
    Case(name="all_kinds", type="", dtype="object", values=(("1", 1), ("1.0", 1.0), ("'1'", "1"), ("x'31'", b"1"), ("''", ""))),
)  # fmt: skip


# -- DuckDB ------------------------------------------------------------------------------------------------------------

DUCKDB = (
    Case(name="bigint", type="BIGINT", dtype="Int64", values=(*INTEGERS, ("-9223372036854775808", -(2**63)))),
    Case(name="integer", type="INTEGER", dtype="Int32", values=(("2147483647", 2**31 - 1), ("-2147483648", -(2**31)))),
    Case(name="smallint", type="SMALLINT", dtype="Int16", values=(("32767", 2**15 - 1), ("-32768", -(2**15)))),
    Case(name="tinyint", type="TINYINT", dtype="Int16", values=(("127", 127), ("-128", -128))),
    Case(name="unsigned", type="UBIGINT", dtype="UInt64", values=(("18446744073709551615", 2**64 - 1), ("0", 0))),
    Case(name="unsigned_integer", type="UINTEGER", dtype="Int64", values=(("4294967295", 2**32 - 1), ("0", 0))),
    Case(name="unsigned_tinyint", type="UTINYINT", dtype="Int64", values=(("255", 255), ("0", 0))),
    Case(
        name="huge", type="HUGEINT", dtype="object",
        values=((str(2**127 - 1), Decimal(2**127 - 1)), (str(-(2**127)), Decimal(-(2**127))), ("0", Decimal(0))),
    ),
    Case(name="unsigned_huge", type="UHUGEINT", dtype="object", values=((str(2**128 - 1), Decimal(2**128 - 1)), ("0", Decimal(0)))),
    Case(
        name="money_like", type="DECIMAL(38,10)", dtype="object",
        values=(
            ("1234567890123456789012345678.0123456789", Decimal("1234567890123456789012345678.0123456789")),
            ("-0.0000000001", Decimal("-0.0000000001")),
            ("1.5", Decimal("1.5000000000")),
            ("0", Decimal("0E-10")),
        ),
    ),
    Case(name="small_money", type="DECIMAL(4,1)", dtype="object", values=(("999.9", Decimal("999.9")), ("-0.1", Decimal("-0.1")))),
    Case(
        name="double", type="DOUBLE", dtype="float64",
        values=(
            *((f"'{number!r}'", number) for number in DOUBLES),
            ("'NaN'", math.nan), ("'Infinity'", math.inf), ("'-Infinity'", -math.inf), ("'-0.0'", MINUS_ZERO),
        ),
    ),
    Case(
        name="single", type="FLOAT", dtype="float32",
        values=(("1.5", 1.5), ("'0.1'", 0.10000000149011612), ("'3.4028235e38'", 3.4028234663852886e38), ("'-Infinity'", -math.inf)),
    ),
    Case(name="flag", type="BOOLEAN", dtype="boolean", values=(("true", True), ("false", False))),
    Case(name="note", type="VARCHAR", dtype="str", values=tuple((quoted(text), text) for text in TEXTS)),
    Case(name="day", type="DATE", dtype="object", values=DATES),
    Case(name="local", type="TIMESTAMP", dtype="datetime64[us]", values=MOMENTS),
    Case(
        name="local_seconds", type="TIMESTAMP_S", dtype="datetime64[s]",
        values=(("'2013-01-31 04:05:06'", Timestamp("2013-01-31 04:05:06")),),
    ),
    Case(
        name="local_nanoseconds", type="TIMESTAMP_NS", dtype="datetime64[ns]",
        values=(("'2013-01-31 04:05:06.000000001'", Timestamp("2013-01-31 04:05:06.000000001")),),
    ),
    Case(name="instant", type="TIMESTAMPTZ", dtype="datetime64[us, UTC]", values=INSTANTS),
    Case(name="clock", type="TIME", dtype="object", values=CLOCKS),
    Case(
        name="zoned_clock", type="TIMETZ", dtype="str",
        values=(("'04:05:06.5-05:30'", "04:05:06.5-05:30"), ("'00:00:00+00'", "00:00:00+00")),
    ),
    Case(
        name="span", type="INTERVAL", dtype="str",
        values=(("INTERVAL '1 year 2 months 3 days 04:05:06.000007'", "1 year 2 months 3 days 04:05:06.000007"),
                ("INTERVAL '0 days'", "00:00:00"), ("INTERVAL '-1 day'", "-1 day")),
    ),
    Case(
        name="raw", type="BLOB", dtype="object",
        values=((r"'\x00\xFF\x0A\x22'::BLOB", b'\x00\xff\n"'), ("''::BLOB", b""), (r"'\x00'::BLOB", b"\x00")),
    ),
    Case(name="numbers", type="INTEGER[]", dtype="str", values=(("[1, NULL, 3]", "[1,null,3]"), ("[]", "[]"))),
    Case(name="pairs", type="INTEGER[2]", dtype="str", values=(("[1, 2]", "[1,2]"),)),
    Case(name="words", type="VARCHAR[]", dtype="str", values=(("""['a"b', 'c,d', '', NULL]""", r'["a\"b","c,d","",null]'),)),
    Case(name="structured", type="STRUCT(a INTEGER, b VARCHAR)", dtype="str", values=(("{'a': 1, 'b': 'é'}", '{"a":1,"b":"é"}'),)),
    Case(name="mapped", type="MAP(VARCHAR, INTEGER)", dtype="str", values=(("MAP {'k': 1}", '{"k":1}'),)),
    Case(name="either", type="UNION(number INTEGER, word VARCHAR)", dtype="str", values=(("union_value(word := 'x')", '{"word":"x"}'),)),
    Case(name="json_text", type="JSON", dtype="str", values=(("""'{"b":  1.50}'""", '{"b":  1.50}'), ("'null'", "null"))),
    Case(name="key", type="UUID", dtype="str", values=((f"'{UUID.upper()}'", UUID),)),
    Case(name="mood_of", type="ENUM ('it''s so', '')", dtype="str", values=(("'it''s so'", "it's so"), ("''", ""))),
    Case(name="bits", type="BIT", dtype="str", values=(("'101'", "101"),)),
)  # fmt: skip


# -- MariaDB, and MySQL where it knows the type ------------------------------------------------------------------------


def in_hexadecimal(text: str) -> str:
    """A text as a literal that no setting of the session reads in another way."""
    return f"X'{text.encode().hex()}'"


# The statements of a case belong into one session: one of them sets its time zone.
MARIADB = (
    Case(name="a_bigint", type="BIGINT", dtype="Int64", values=(*INTEGERS, ("-9223372036854775808", -(2**63)))),
    Case(name="an_integer", type="INTEGER", dtype="Int64", values=(("2147483647", 2**31 - 1), ("-2147483648", -(2**31)))),
    Case(name="a_mediumint", type="MEDIUMINT", dtype="Int64", values=(("8388607", 2**23 - 1), ("-8388608", -(2**23)))),
    Case(name="a_tinyint", type="TINYINT", dtype="Int64", values=(("127", 127), ("-128", -128))),
    Case(name="a_flag", type="BOOLEAN", dtype="Int64", values=(("TRUE", 1), ("FALSE", 0))),
    Case(name="an_unsigned", type="BIGINT UNSIGNED", dtype="UInt64", values=(("18446744073709551615", 2**64 - 1), ("0", 0))),
    Case(name="an_unsigned_integer", type="INTEGER UNSIGNED", dtype="Int64", values=(("4294967295", 2**32 - 1), ("0", 0))),
    Case(
        name="money_like", type="DECIMAL(38,10)", dtype="object",
        values=(
            ("1234567890123456789012345678.0123456789", Decimal("1234567890123456789012345678.0123456789")),
            ("-0.0000000001", Decimal("-0.0000000001")),
            ("1.5", Decimal("1.5000000000")),
            ("0", Decimal("0E-10")),
        ),
    ),
    Case(name="widest", type="DECIMAL(65,0)", dtype="object", values=(("9" * 65, Decimal("9" * 65)), ("1", Decimal(1)))),
    Case(name="a_double", type="DOUBLE", dtype="float64", values=tuple((repr(number), number) for number in DOUBLES if number != 5e-324)),
    Case(
        name="a_float", type="FLOAT", dtype="float64",
        values=(("0.1", 0.10000000149011612), ("16777217", 16777216.0), ("3.40282e38", 3.402820018375656e+38)),
    ),
    Case(
        name="a_note", type="TEXT CHARACTER SET utf8mb4", dtype="str",
        values=tuple((in_hexadecimal(text), text) for text in TEXTS),
    ),
    Case(name="a_nul_byte", type="TEXT", dtype="str", values=((in_hexadecimal("a\0b"), "a\0b"), ("'a'", "a"))),
    Case(
        name="a_short", type="VARCHAR(3) CHARACTER SET utf8mb4", dtype="str", values=(("'x'", "x"), ("''", ""), ("'é😀'", "é😀")),
    ),
    Case(name="a_latin", type="VARCHAR(3) CHARACTER SET latin1", dtype="str", values=(("'é'", "é"), ("'€'", "€"))),
    Case(name="a_day", type="DATE", dtype="object", values=DATES),
    Case(name="a_local", type="DATETIME(6)", dtype="datetime64[us]", values=MOMENTS),
    Case(
        name="a_local_second", type="DATETIME", dtype="datetime64[us]",
        values=(("'2013-01-31 04:05:06'", Timestamp("2013-01-31 04:05:06")),),
    ),
    Case(
        name="an_instant", type="TIMESTAMP(6) NULL", dtype="datetime64[us, UTC]",
        values=(("'2013-01-31 04:05:06.000001'", Timestamp("2013-01-31T09:05:06.000001Z")),
                ("'2013-07-31 04:05:06'", Timestamp("2013-07-31T09:05:06Z"))),
        setup=("SET SESSION time_zone = '-05:00'",),
    ),
    Case(
        name="a_span", type="TIME(6)", dtype="timedelta64[us]",
        values=(("'04:05:06.000001'", pd.Timedelta("04:05:06.000001")), ("'-00:00:00.5'", -pd.Timedelta("00:00:00.5")),
                ("'838:59:59'", pd.Timedelta(hours=838, minutes=59, seconds=59))),
    ),
    Case(name="a_year", type="YEAR", dtype="Int64", values=(("1901", 1901), ("2155", 2155))),
    Case(name="a_blob", type="BLOB", dtype="object", values=(("X'00ff0a22'", b'\x00\xff\n"'), ("''", b""), ("X'00'", b"\x00"))),
    Case(name="some_bits", type="BIT(3)", dtype="Int64", values=(("B'101'", 5), ("B'000'", 0))),
    Case(name="all_bits", type="BIT(64)", dtype="UInt64", values=(("18446744073709551615", 2**64 - 1), ("0", 0))),
    Case(name="a_json", type="JSON", dtype="str", values=(("""'{"b":  1.50}'""", '{"b":  1.50}'), ("'null'", "null"))),
    Case(name="a_mood", type="ENUM ('it''s so', 'b')", dtype="str", values=(("'it''s so'", "it's so"), ("'b'", "b"))),
    Case(name="some_moods", type="SET ('a', 'b')", dtype="str", values=(("'a,b'", "a,b"), ("''", ""))),
)  # fmt: skip
__all__ = ["DUCKDB", "MARIADB", "POSTGRESQL", "SQLITE", "Case", "cells", "in_hexadecimal", "quoted", "shown", "table_of"]
