"""Every kind of fault once over PostgreSQL 15.

Not here: the same over the embedded server, and that the suite can fail (`faults/test_faults.py`).
"""

from etl_assets_tests.acceptance.database_servers import POSTGRES_15
from etl_assets_tests.faults.suite import KINDS, run_faults


def test_faults_on_postgresql_15() -> None:
    """Nothing is lost, doubled or seen half, and every fault lands and heals."""
    report = run_faults(faults=len(KINDS), seed=15, rows=2_000, binaries=POSTGRES_15)
    assert report.versions["postgresql"].startswith("15.")
    assert report.missed == {}
    assert report.holds, report
