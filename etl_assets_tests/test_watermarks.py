"""The text form of a watermark: what is written is what is read back, or it is refused."""

import datetime
import zoneinfo
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl_assets.errors import SourceFormatError
from etl_assets.watermarks import Value, Watermark, from_text, to_text

VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False), st.text(), st.dates(), st.datetimes(),
    st.datetimes(timezones=st.timezones()), st.floats(allow_nan=False).map(np.float64),
)  # fmt: skip


def told(value: Value) -> Any:
    """What a value says. A time that a clock change repeats equals none of another zone in Python, so clock and offset are compared."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None, fold=0), value.utcoffset()
    return value


@given(value=VALUES)
@example(value=datetime.datetime(1999, 10, 31, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")))
@example(value=datetime.datetime(1999, 10, 31, 2, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")))
def test_a_watermark_survives_as_text(value: Value) -> None:
    """Kind and text of any value are read back as an equal value of the same kind."""
    kind, text = to_text(Watermark(source="t", value=value))
    back = from_text("t", kind, text).value
    assert (told(back), isinstance(value, type(back))) == (told(value), True)


@pytest.mark.parametrize(
    "value",
    [
        True, None, b"a", float("nan"), Decimal("NaN"), Decimal("sNaN"), datetime.time(1), datetime.timedelta(1), pd.NaT,
        pd.Timestamp("2026-03-01 12:00:00.000000001"), [1],
    ],
    ids=repr,
)  # fmt: skip
def test_what_has_no_order_or_no_exact_text_is_no_watermark(value: Any) -> None:
    """A value that would not come back as it is, or that nothing lies above, is an error."""
    with pytest.raises(SourceFormatError, match="cannot be a watermark"):
        to_text(Watermark(source="t", value=value))


@pytest.mark.parametrize(("kind", "text"), [("integer", "x"), ("timestamp", "yesterday"), ("colour", "red"), ("decimal", "1,5")])
def test_a_watermark_changed_by_hand_is_an_error(kind: str, text: str) -> None:
    """What cannot be read back is an error that names the table to look into."""
    with pytest.raises(SourceFormatError, match=r"etl\.watermarks cannot be read"):
        from_text("t", kind, text)
