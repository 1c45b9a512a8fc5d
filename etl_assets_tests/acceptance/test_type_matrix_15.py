"""Every type on PostgreSQL 15: what was loaded is what is read back, and what would change is refused, as on the newest version.

Not here: the cases (`loading/type_matrix.py`), the other ways of reading (`loading/test_type_matrix.py`).
"""

import pytest

from etl_assets.errors import UnstorableValueError
from etl_assets.loading.postgres import PostgresResource
from etl_assets_tests.loading.type_matrix import CASES, CHECKSUM, REFUSED, Case, Refused, cells, frame_of, name_of, request_of
from etl_assets_tests.statements import run


@pytest.mark.parametrize("by_csv", [False, True], ids=["alone", "beside a type without binary form"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_was_loaded_is_read_back(target: PostgresResource, case: Case, by_csv: bool) -> None:
    """Every value comes back with its Python type and every digit, in a column of the dtype that the type has."""
    if case.setup:
        run(target.url, *case.setup)
    target.write(frame_of(case.given, case.given_dtype, by_csv=by_csv), request_of(case.type, by_csv=by_csv))
    column = target.read_table("matrix")["v"]
    assert (str(column.dtype), cells(column)) == (case.dtype, case.cells)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_was_read_back_is_stored_the_same(target: PostgresResource, case: Case) -> None:
    """A second load, of the frame that was read, leaves the same rows."""
    if case.setup:
        run(target.url, *case.setup)
    target.write(frame_of(case.given, case.given_dtype, by_csv=False), request_of(case.type, by_csv=False))
    before = run(target.url, CHECKSUM)
    target.write(target.read_table("matrix"), request_of(case.type, by_csv=False))
    assert run(target.url, CHECKSUM) == before


@pytest.mark.parametrize("case", REFUSED, ids=name_of)
def test_what_would_change_is_refused(target: PostgresResource, case: Refused) -> None:
    """A value that a type does not hold is an error with the reason."""
    if case.setup:
        run(target.url, *case.setup)
    with pytest.raises(UnstorableValueError, match=case.says):
        target.write(frame_of(case.given, case.given_dtype, by_csv=False), request_of(case.type, by_csv=False))
