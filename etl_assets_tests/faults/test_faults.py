"""A short run of faults, each kind once, and the same over a loader that must not survive it.

Not here: the long run (`make faults`), PostgreSQL 15 (`acceptance/`).
"""

import pytest

from etl_assets_tests.faults.suite import KINDS, Report, run_faults, run_naive


@pytest.fixture(scope="module")
def report() -> Report:
    """Every kind of fault once."""
    return run_faults(faults=len(KINDS), seed=20260, rows=2_000)


def test_there_are_many_kinds() -> None:
    """The run is made of at least fifteen kinds of faults."""
    assert len(KINDS) >= 15


def test_every_fault_lands(report: Report) -> None:
    """A fault that misses its aim proves nothing, so each must hit, or fail with the error it should."""
    assert (report.injected, report.missed) == (len(KINDS), {})


def test_no_row_is_lost(report: Report) -> None:
    """Every row that was delivered is in its table in the end."""
    assert report.lost == 0


def test_no_row_is_there_twice(report: Report) -> None:
    """No row is in its table more than once, whatever was delivered again."""
    assert report.duplicated == 0


def test_values_are_those_that_were_delivered(report: Report) -> None:
    """The checksums of all tables are those of the deliveries."""
    assert report.checksums_equal


def test_no_reader_sees_half_a_load(report: Report) -> None:
    """Readers that poll meanwhile see a delivery wholly or not at all."""
    assert report.looks > 100
    assert report.half_visible == 0


def test_every_delivery_gets_in(report: Report) -> None:
    """Each fault heals by trying again, within a minute, and its delivery is in the ledger once."""
    assert (report.not_healed, report.ledger_wrong) == (0, 0)
    assert report.healed_seconds_max <= 60


def test_a_loader_without_ledger_is_caught() -> None:
    """The same faults over a loader that appends chunk by chunk leave rows twice: the suite can fail."""
    naive = run_naive(faults=6, seed=20260)
    assert naive.duplicated > 0
    assert not naive.holds
