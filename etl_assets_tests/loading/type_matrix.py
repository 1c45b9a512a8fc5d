"""What tables hold, and what a frame shall hold of it again: one case per type and kind of Python value, and what each type refuses.

The cases are plain values, so that the tests of every server can take them. A case's table is `public.matrix`: `n` counts the rows from 1,
`v` is the value; a third column without a binary form makes the whole table go by CSV.

Not here: how the databases are started, and what is asserted.
"""

import datetime
import uuid
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from etl_assets.loading.table import ColumnSpec, LoadIdentity, LoadRequest, TableRef, TableSpec
from etl_assets_tests.connectors.sql_values import cells, shown

UTC = datetime.UTC
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
MOOD = ("CREATE TYPE public.mood AS ENUM ('sad', 'it''s \"fine\"', 'ok, ok', 'NULL', '')",)
ASSET = "public/matrix"
CHECKSUM = "SELECT count(*), md5(string_agg((n, v)::text, E'\\n' ORDER BY n)) FROM public.matrix"


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A type and its values.

    Attributes:
        name: Of the case.
        type: PostgreSQL type as `format_type` prints it.
        given: Values as a column of a frame has them.
        dtype: What the column has that is read back.
        back: Values that are read back, their Python types included; None for those given.
        given_dtype: dtype of the column that is loaded.
        arrow: Type of the column that is read as Arrow; text holds what PostgreSQL prints.
        setup: Statements that come before the table.
    """

    name: str
    type: str
    given: tuple[Any, ...]
    dtype: str
    back: tuple[Any, ...] | None = None
    given_dtype: Any = object
    arrow: str = "large_string"
    setup: tuple[str, ...] = ()

    @property
    def expected(self) -> list[Any]:
        """The values that are read back."""
        return list(self.given if self.back is None else self.back)

    @property
    def cells(self) -> list[str]:
        """The same with Python type and every digit."""
        return shown(self.expected, self.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Refused:
    """Values of a type that cannot be stored without change.

    Attributes:
        name: Of the case.
        type: PostgreSQL type as `format_type` prints it.
        value: The value; it stands between others that can be stored.
        good: What stands around it.
        says: Part of the reason, as a regular expression.
        given_dtype: dtype of the column that is loaded.
        setup: Statements that come before the table.
    """

    name: str
    type: str
    value: Any
    good: Any
    says: str
    given_dtype: Any = object
    setup: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[Any, ...]:
        """The column: the bad value is in row 3, after a good one and a NULL."""
        return (self.good, None, self.value, self.good)


def frame_of(values: tuple[Any, ...], dtype: Any, *, by_csv: bool) -> pd.DataFrame:
    """Rows to load."""
    frame = pd.DataFrame({"n": range(1, len(values) + 1), "v": pd.Series(list(values), dtype=dtype)})
    return frame.assign(other="(1,2)") if by_csv else frame


def request_of(type_: str, *, by_csv: bool) -> LoadRequest:
    """A load into a table of this type."""
    columns = [ColumnSpec(name="n", type="bigint"), ColumnSpec(name="v", type=type_)]
    columns += [ColumnSpec(name="other", type="point")] if by_csv else []
    return LoadRequest(
        target=TableRef(schema="public", table="matrix"),
        identity=LoadIdentity(load_id=uuid.uuid4(), asset=ASSET),
        spec=TableSpec(columns=tuple(columns)),
    )


def at(text: str) -> pd.Timestamp:
    """A point in time, to the microsecond."""
    return pd.Timestamp(text).as_unit("us")


# -- numbers --------------------------------------------------------------------------------------------------------------


def _whole(type_: str, bits: int, dtype: str) -> list[Case]:
    edges = (2 ** (bits - 1) - 1, None, -(2 ** (bits - 1)), 0, -1)
    return [
        Case(name=f"{type_} as {given}", type=type_, given=edges, given_dtype=given, dtype=dtype, arrow=f"int{bits}")
        for given in ("object", dtype)
    ]


BIG = Decimal("123456789012345678901234567890.123456789012345678901234567890")
NINES = Decimal("9" * 38)
TINY = Decimal("0." + "9" * 38)
# A minus sign before a name would round to the digits of decimal's context.
MINUS_BIG, MINUS_NINES, MINUS_TINY = BIG.copy_negate(), NINES.copy_negate(), TINY.copy_negate()
REALS = (1.5, float(np.float32(0.1)), float(np.float32(3.4028235e38)), float(np.float32(1e-45)), -0.0, float("inf"), float("-inf"))
DOUBLES = (0.1, 5e-324, 2.2250738585072014e-308, 1e308, 1.7976931348623157e308, -0.0, 1e22, float("inf"), float("-inf"), float("nan"))

NUMBERS = [
    *_whole("smallint", 16, "Int16"),
    *_whole("integer", 32, "Int32"),
    *_whole("bigint", 64, "Int64"),
    Case(name="bigint from whole floats", type="bigint", given=(1.0, 2.0**53, float("nan")), given_dtype="float64", dtype="Int64",
         back=(1, 2**53, None), arrow="int64"),
    Case(name="bigint beyond doubles", type="bigint", given=(2**53 + 1, None, 2**63 - 1), given_dtype="Int64", dtype="Int64",
         arrow="int64"),
    Case(name="numeric from uint64", type="numeric(20,0)", given=(2**64 - 1, 0), given_dtype="uint64", dtype="object",
         back=(Decimal(2**64 - 1), Decimal(0)), arrow="decimal128(20, 0)"),
    Case(name="numeric(38,0)", type="numeric(38,0)", given=(NINES, None, MINUS_NINES, 2**100), dtype="object",
         back=(NINES, None, MINUS_NINES, Decimal(2**100)), arrow="decimal128(38, 0)"),
    Case(name="numeric(38,38)", type="numeric(38,38)", given=(TINY, MINUS_TINY, None, Decimal("1e-38"), Decimal(0)), dtype="object",
         back=(TINY, MINUS_TINY, None, Decimal("1E-38"), Decimal("0E-38")), arrow="decimal128(38, 38)"),
    Case(name="numeric(12,2)", type="numeric(12,2)", given=(Decimal("-0.01"), None, 19.9, 3, Decimal("9999999999.99")), dtype="object",
         back=(Decimal("-0.01"), None, Decimal("19.90"), Decimal("3.00"), Decimal("9999999999.99")), arrow="decimal128(12, 2)"),
    Case(name="numeric(39,2)", type="numeric(39,2)", given=(Decimal("9" * 37 + ".99"), None, Decimal("-0.10")), dtype="object"),
    Case(name="numeric(3,5)", type="numeric(3,5)", given=(Decimal("0.00123"), None, Decimal("-0.00999")), dtype="object"),
    Case(name="numeric(3,-2)", type="numeric(3,-2)", given=(Decimal(12300), None, Decimal(-99900)), dtype="object"),
    Case(name="numeric", type="numeric", given=(BIG, None, MINUS_BIG, Decimal("1.50"), Decimal("1E-100"), 2**100, 0.1), dtype="object",
         back=(BIG, None, MINUS_BIG, Decimal("1.50"), Decimal("1E-100"), Decimal(2**100), Decimal("0.1"))),
    Case(name="numeric without digits", type="numeric", given=(Decimal("NaN"), None, Decimal("Infinity"), Decimal("-Infinity")),
         dtype="object"),
    Case(name="real", type="real", given=(*REALS, float("nan")), given_dtype="float32", dtype="float32", arrow="float"),
    Case(name="real from doubles", type="real", given=(0.1, None, 3.4028235e38, -0.0), dtype="float32", arrow="float",
         back=(float(np.float32(0.1)), float("nan"), float(np.float32(3.4028235e38)), -0.0)),
    Case(name="double precision", type="double precision", given=DOUBLES, given_dtype="float64", dtype="float64", arrow="double"),
    Case(name="double precision as object", type="double precision", given=(*DOUBLES[:-1], None, 1), dtype="float64", arrow="double",
         back=(*DOUBLES[:-1], float("nan"), 1.0)),
    Case(name="boolean", type="boolean", given=(True, None, False), given_dtype="boolean", dtype="boolean", arrow="bool"),
    Case(name="boolean as object", type="boolean", given=(True, None, False), dtype="boolean", arrow="bool"),
]  # fmt: skip

# -- text and bytes -------------------------------------------------------------------------------------------------------

TEXTS = (
    "", None, " ", "it's", '"quoted"', "a,b", "\n", "\r\n", "\r", "\t", "\\N", "\\", "\\.", "\\x00", "NULL", "NA", "nan", "<NA>", "{1,2}",
    "%s %(v)s :v ?", "é", "e\u0301", "😀", "👨‍👩‍👧", "שלום", "مرحبا \u200f!", "\u2028", "\ufeff", "中文", "\x01\x7f", "ends with blanks  ",
)  # fmt: skip
ID = uuid.UUID("6f1c9a52-0d3b-4b2e-9a51-6f0f0c1d2e3f")
FEELINGS = ("sad", None, 'it\'s "fine"', "ok, ok", "NULL", "")

TEXT = [
    Case(name="text", type="text", given=TEXTS, dtype="str"),
    Case(name="text as str", type="text", given=TEXTS, given_dtype="str", dtype="str"),
    Case(name="text as string", type="text", given=TEXTS, given_dtype="string[python]", dtype="str"),
    Case(name="text of a megabyte", type="text", given=("é" * 2**19, None, 'x"' * 2**19), dtype="str"),
    Case(name="varchar(5)", type="character varying(5)", given=("héllo", None, "", "😀" * 5, "a  "), dtype="str"),
    Case(name="varchar", type="character varying", given=("a" * 1000, None, ""), dtype="str"),
    Case(name="char(5)", type="character(5)", given=("ab", None, "", "héllo"), back=("ab   ", None, "     ", "héllo"), dtype="str"),
    Case(name="text from categories", type="text", given=("b", None, "a", "b", ""), given_dtype="category", dtype="str"),
    Case(name="bigint from categories", type="bigint", given=(2**53 + 1, 1, 2**53 + 1), given_dtype="category", dtype="Int64",
         arrow="int64"),
    Case(name="bigint from categories beside NULL", type="bigint", given=(2**53 + 1, None, 1), dtype="Int64", arrow="int64",
         given_dtype=pd.CategoricalDtype(pd.Index([1, 2**53 + 1], dtype="int64"))),
    Case(name="enum", type="mood", given=FEELINGS, dtype="str", setup=MOOD),
    Case(name="enum from categories", type="mood", given=FEELINGS, given_dtype="category", dtype="str", setup=MOOD),
    Case(name="bytea", type="bytea", given=(b"\x00\xff\n\"\\", None, b"", bytes(range(256))), dtype="object", arrow="large_binary"),
    Case(name="bytea from bytearrays", type="bytea", given=(bytearray(b"\x00a"), None, bytearray()), back=(b"\x00a", None, b""),
         dtype="object", arrow="large_binary"),
    Case(name="uuid", type="uuid", given=(ID, None, uuid.UUID(int=0)), back=(str(ID), None, str(uuid.UUID(int=0))), dtype="str"),
    Case(name="uuid as text", type="uuid", given=(str(ID), None, str(ID).upper(), ID.hex, f"{{{ID}}}"),
         back=(str(ID), None, str(ID), str(ID), str(ID)), dtype="str"),
    Case(name="jsonb", type="jsonb", dtype="str",
         given=({"b": [1, None, {"c": "é😀"}], "a": 2**70}, None, [], {}, [[1.5], "x"], '{"z":  1.50}', "null", '"text"', True, 5),
         back=('{"a": 1180591620717411303424, "b": [1, null, {"c": "é😀"}]}', None, "[]", "{}", '[[1.5], "x"]', '{"z": 1.50}', "null",
               '"text"', "true", "5")),
    Case(name="json", type="json", dtype="str",
         given=({"b": [1, None], "a": 2**70}, None, '{"z":  1.50, "z": 2}', '"\\u0000"', [1], "12345678901234567890.10"),
         back=('{"b": [1, null], "a": 1180591620717411303424}', None, '{"z":  1.50, "z": 2}', '"\\u0000"', "[1]",
               "12345678901234567890.10")),
    Case(name="jsonb as str", type="jsonb", given=('{"a": 1}', None, "[]"), given_dtype="str", dtype="str"),
    Case(name="inet", type="inet", given=("10.0.0.1", None, "10.0.0.0/8", "::1"), dtype="str"),
    Case(name="int4range", type="int4range", given=("[1,5)", None, "empty", "(,5)"), dtype="str"),
    Case(name="point", type="point", given=("(1,2)", None, "(0.1,-1e-300)"), dtype="str"),
    Case(name="bit(3)", type="bit(3)", given=("101", None, "000"), dtype="str"),
]  # fmt: skip

# -- times ----------------------------------------------------------------------------------------------------------------

DAYS = (datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31), datetime.date(2024, 2, 29), datetime.date(1582, 10, 10))
LOCALS = (at("0001-01-01"), None, at("9999-12-31 23:59:59.999999"), at("1969-12-31 23:59:59.999999"), at("2013-11-03 01:30"))
FOLD = datetime.datetime(2013, 11, 3, 1, 30, tzinfo=NEW_YORK)
AHEAD = datetime.timezone(datetime.timedelta(hours=14))
INSTANTS = (
    datetime.datetime(1, 1, 1, tzinfo=UTC), None, datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    FOLD, FOLD.replace(fold=1), datetime.datetime(2026, 3, 1, 13, 0, 0, 1, tzinfo=AHEAD),
)  # fmt: skip
INSTANTS_BACK = (
    at("0001-01-01T00:00Z"), None, at("9999-12-31T23:59:59.999999Z"),
    at("2013-11-03T05:30Z"), at("2013-11-03T06:30Z"), at("2026-02-28T23:00:00.000001Z"),
)  # fmt: skip
LENGTHS = (datetime.timedelta(days=1, microseconds=1), None, -datetime.timedelta(seconds=1), datetime.timedelta(0))
LENGTHS_BACK = ("24:00:00.000001", None, "-00:00:01", "00:00:00")

TIMES = [
    Case(name="date", type="date", given=DAYS, dtype="object", arrow="date32[day]"),
    Case(name="date from midnights", type="date", given=(at("2026-03-01"), None), given_dtype="datetime64[us]", dtype="object",
         back=(datetime.date(2026, 3, 1), None), arrow="date32[day]"),
    Case(name="timestamp", type="timestamp without time zone", given=LOCALS, given_dtype="datetime64[us]", dtype="datetime64[us]",
         arrow="timestamp[us]"),
    Case(name="timestamp as object", type="timestamp without time zone", back=LOCALS, dtype="datetime64[us]", arrow="timestamp[us]",
         given=tuple(None if one is None else one.to_pydatetime() for one in LOCALS)),
    Case(name="timestamp from seconds", type="timestamp without time zone", given=(at("0001-01-01"), None, at("2026-03-01 12:00:01")),
         given_dtype="datetime64[s]", dtype="datetime64[us]", arrow="timestamp[us]"),
    Case(name="timestamp(3)", type="timestamp(3) without time zone", given=(at("2026-03-01 12:00:00.123"), None), dtype="datetime64[us]",
         given_dtype="datetime64[us]", arrow="timestamp[us]"),
    Case(name="timestamptz", type="timestamp with time zone", given=INSTANTS, back=INSTANTS_BACK, dtype="datetime64[us, UTC]",
         arrow="timestamp[us, tz=UTC]"),
    Case(name="timestamptz of New York", type="timestamp with time zone", given=INSTANTS_BACK[1:],
         given_dtype="datetime64[us, America/New_York]", dtype="datetime64[us, UTC]", arrow="timestamp[us, tz=UTC]"),
    Case(name="time", type="time without time zone", given=(datetime.time(0), None, datetime.time(23, 59, 59, 999999)), dtype="object",
         arrow="time64[us]"),
    Case(name="timetz", type="time with time zone", given=("04:05:06.000001+02", None, "00:00:00-12:30"), dtype="str"),
    Case(name="interval", type="interval", given=LENGTHS, back=LENGTHS_BACK, dtype="str"),
    Case(name="interval from timedelta64", type="interval", given=LENGTHS, back=LENGTHS_BACK, given_dtype="timedelta64[us]", dtype="str"),
    Case(name="interval as text", type="interval", given=("1 year 2 mons 3 days 04:05:06.5", None, "-1 mons +2 days -03:00:00"),
         dtype="str"),
]  # fmt: skip

# -- arrays ---------------------------------------------------------------------------------------------------------------

NOON = datetime.datetime(2026, 3, 1, 12, 0, 0, 1)
WORDS = ["", "a,b", '"', "\\", "\\\\N", "NULL", "null", None, "{x}", " lead", "trail ", "\n", "\t", "é😀", "it's"]


def _array(type_: str, given: tuple[Any, ...], back: tuple[Any, ...] | None = None, name: str = "") -> Case:
    return Case(name=name or type_, type=type_, given=given, back=back, dtype="object")


ARRAYS = [
    _array("integer[]", ([1, None, -(2**31)], None, [], (1, 2), np.array([3, 4]), "{5,NULL}"),
           ([1, None, -(2**31)], None, [], [1, 2], [3, 4], [5, None])),
    _array("integer[]", ([[1, 2], [3, None]], None, ((1,), (2,)), np.array([[1, 2], [3, 4]]), "{{5,6}}"),
           ([[1, 2], [3, None]], None, [[1], [2]], [[1, 2], [3, 4]], [[5, 6]]), name="integer[] nested"),
    _array("smallint[]", ([2**15 - 1, -(2**15)], None)),
    _array("bigint[]", ([2**63 - 1, None, -(2**63), 2**53 + 1], None, np.array([2**63 - 1])),
           ([2**63 - 1, None, -(2**63), 2**53 + 1], None, [2**63 - 1])),
    _array("text[]", (WORDS, None, [], tuple(WORDS), np.array(["a", None], dtype=object), '{a,NULL,"NULL"}'),
           (WORDS, None, [], WORDS, ["a", None], ["a", None, "NULL"])),
    _array("text[]", ([["a", None], ["", "b,c"]], None), name="text[] nested"),
    _array("text[]", (["a", pd.NA, None], None), (["a", None, None], None), name="text[] with pandas' NA"),
    _array("numeric[]", ([BIG, None, Decimal("1.50"), Decimal("0E-10"), Decimal("NaN"), Decimal("Infinity")], None, [0.1, 2]),
           ([BIG, None, Decimal("1.50"), Decimal("0E-10"), Decimal("NaN"), Decimal("Infinity")], None, [Decimal("0.1"), Decimal(2)])),
    _array("boolean[]", ([True, None, False], None, [], np.array([True, False])), ([True, None, False], None, [], [True, False])),
    _array("double precision[]", ([0.1, None, -0.0, 1e308, 5e-324, float("inf"), float("nan")], None, np.array([1.5])),
           ([0.1, None, -0.0, 1e308, 5e-324, float("inf"), float("nan")], None, [1.5])),
    _array("date[]", ([datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31)], None, [])),
    _array("timestamp without time zone[]", ([NOON, None], None, np.array([NOON], dtype="datetime64[us]"), [pd.Timestamp(NOON)]),
           ([NOON, None], None, [NOON], [NOON])),
    _array("timestamp without time zone[]", (np.array([NOON], dtype="datetime64[ns]"),), ([NOON],), name="timestamp[] from nanoseconds"),
    _array("timestamp with time zone[]", ([FOLD, FOLD.replace(fold=1), None], None, [pd.Timestamp(NOON, tz="UTC")]),
           ([datetime.datetime(2013, 11, 3, 5, 30, tzinfo=UTC), datetime.datetime(2013, 11, 3, 6, 30, tzinfo=UTC), None], None,
            [NOON.replace(tzinfo=UTC)])),
    _array("timestamp with time zone[]", ([pd.Timestamp(NOON, tz="UTC"), pd.NaT],), ([NOON.replace(tzinfo=UTC), None],),
           name="timestamptz[] with pandas' NaT"),
    _array("uuid[]", ([ID, None, str(ID)], None, []), ([str(ID), None, str(ID)], None, [])),
    _array("bytea[]", ([b"\x00\\\"", None, b""], None), ([b"\x00\\\"", None, b""], None)),
    _array("jsonb[]", ([{"a": ["x", None]}, None, 'true'], None), (['{"a": ["x", null]}', None, "true"], None)),
    _array("interval[]", ([datetime.timedelta(days=1, seconds=1), None, pd.Timedelta(-1, "s")], None),
           (["24:00:01", None, "-00:00:01"], None)),
]  # fmt: skip

CASES = [*NUMBERS, *TEXT, *TIMES, *ARRAYS]

# -- what is refused ------------------------------------------------------------------------------------------------------

EXACTLY = "cannot be stored exactly as"


def _refused(type_: str, name: str, value: Any, good: Any, says: str = EXACTLY, **more: Any) -> Refused:
    return Refused(name=f"{type_}: {name}", type=type_, value=value, good=good, says=says, **more)


LOCAL, INSTANT = "timestamp without time zone", "timestamp with time zone"
REFUSED = [
    _refused("smallint", "too large", 2**15, 1),
    _refused("smallint", "too small", -(2**15) - 1, 1),
    _refused("integer", "too large", 2**31, 1),
    _refused("integer", "too large in Int64", 2**31, 1, given_dtype="Int64"),
    _refused("bigint", "too large", 2**63, 1),
    _refused("bigint", "a fraction", 1.5, 1.0, given_dtype="float64"),
    _refused("bigint", "a fraction among objects", Decimal("1.5"), 1),
    _refused("bigint", "infinity", float("inf"), 1.0, given_dtype="float64"),
    _refused("bigint", "text", "1", 1),
    _refused("bigint", "a boolean", True, 1),
    _refused("numeric(4,2)", "too many digits before the point", Decimal("123.4"), Decimal(1)),
    _refused("numeric(4,2)", "too many digits after it", Decimal("1.555"), Decimal(1)),
    _refused("numeric(4,2)", "a double of more digits", 1.555, 1.0, given_dtype="float64"),
    _refused("numeric(4,2)", "NaN", Decimal("NaN"), Decimal(1)),
    _refused("numeric(4,2)", "infinity", Decimal("Infinity"), Decimal(1)),
    _refused("numeric(38,38)", "one", Decimal(1), Decimal("0.1")),
    _refused("numeric(39,2)", "too many digits after the point", Decimal("1.555"), Decimal(1)),
    _refused("numeric(3,-2)", "digits before the last hundred", Decimal(12345), Decimal(100)),
    _refused("numeric(3,5)", "too many digits after the point", Decimal("0.001234"), Decimal("0.001")),
    _refused("numeric", "a boolean", True, Decimal(1)),
    _refused("numeric", "text", "1.5", Decimal(1)),
    _refused("real", "a double of more digits", 0.123456789, 0.5, given_dtype="float64"),
    _refused("real", "too large", 1e300, 0.5),
    _refused("real", "an integer of more digits", 2**24 + 1, 1),
    _refused("double precision", "an integer of more digits", 2**53 + 1, 1),
    _refused("double precision", "text", "0.5", 0.5),
    _refused("boolean", "a number", 1, True),
    _refused("boolean", "text", "true", True),
    _refused("text", "NUL", "a\0b", "a", "invalid byte sequence|NUL|0x00"),
    _refused("text", "a lone surrogate", "a\ud800", "a"),
    _refused("text", "a number", 1, "a"),
    _refused("text", "bytes", b"a", "a"),
    _refused("character varying(2)", "too long", "abc", "ab", "too long"),
    _refused("character varying(2)", "blanks beyond its length", "ab ", "ab", f"too long|{EXACTLY}"),
    _refused("character(2)", "too long", "abc", "ab", "too long"),
    _refused("uuid", "no uuid", "6f1c9a52", ID),
    _refused("jsonb", "broken text", "{broken", {}),
    _refused("jsonb", "NaN", {"a": float("nan")}, {}),
    _refused("jsonb", "NUL", {"a": "\0"}, {}, r"unsupported Unicode|NUL|cannot be stored"),
    _refused("jsonb", "an object", {"a": object()}, {}),
    _refused("bytea", "text", "abc", b"a"),
    _refused("bytea", "a number", 5, b"a"),
    _refused("date", "a time of day", datetime.datetime(2026, 3, 1, 12), DAYS[0]),
    _refused("date", "text", "2026-03-01", DAYS[0]),
    _refused("date", "before 4713 BC", np.datetime64("-5000-01-01"), np.datetime64("2026-03-01"), "out of range",
             given_dtype="datetime64[s]"),
    _refused(LOCAL, "a zone", NOON.replace(tzinfo=UTC), NOON),
    _refused(LOCAL, "nanoseconds", pd.Timestamp(1, unit="ns"), pd.Timestamp(0), given_dtype="datetime64[ns]"),
    _refused(LOCAL, "text", "2026-03-01", NOON),
    _refused("timestamp(3) without time zone", "microseconds", at("2026-03-01 12:00:00.123456"), at("2026-03-01"),
             given_dtype="datetime64[us]"),
    _refused(INSTANT, "no zone", NOON, NOON.replace(tzinfo=UTC)),
    _refused("time without time zone", "a zone", datetime.time(12, tzinfo=UTC), datetime.time(12)),
    _refused("interval", "nanoseconds", pd.Timedelta(1, "ns"), pd.Timedelta(0), given_dtype="timedelta64[ns]"),
    _refused("interval", "a number", 5, datetime.timedelta(1)),
    _refused("mood", "no value of it", "angry", "sad", "invalid input value for enum", setup=MOOD),
    _refused("inet", "no address", "10.0.0.256", "10.0.0.1", "invalid input syntax"),
    _refused("integer[]", "a fraction", [1.5], [1], f"invalid input syntax|{EXACTLY}"),
    _refused("integer[]", "too large", [2**31], [1], f"out of range|{EXACTLY}"),
    _refused("integer[]", "no list", 5, [1]),
    _refused("integer[]", "ragged", [[1], [2, 3]], [1], f"malformed array|{EXACTLY}"),
    _refused("numeric(4,2)[]", "too many digits after the point", [Decimal("1.555")], [Decimal(1)]),
    _refused("real[]", "a double of more digits", [0.123456789], [0.5]),
    _refused("timestamp without time zone[]", "a zone", [NOON.replace(tzinfo=AHEAD)], [NOON]),
    _refused("timestamp with time zone[]", "no zone", [NOON], [NOON.replace(tzinfo=UTC)]),
    _refused("date[]", "a time of day", [NOON], [DAYS[0]]),
]  # fmt: skip

name_of: Callable[[Case | Refused], str] = lambda case: case.name  # noqa: E731

__all__ = ["ASSET", "CASES", "CHECKSUM", "REFUSED", "Case", "Refused", "cells", "frame_of", "name_of", "request_of"]
