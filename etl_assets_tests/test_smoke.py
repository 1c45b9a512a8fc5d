import pandas as pd

from etl_assets.loading.postgres import PostgresResource


def test_round_trip(postgres: PostgresResource) -> None:
    """A frame comes back from PostgreSQL as it was."""
    postgres.load(pd.DataFrame({"a": [1, 2], "b": ["x", None]}), table="t")
    assert postgres.read_table("t")["a"].tolist() == [1, 2]
