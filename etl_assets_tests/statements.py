"""SQL in a test's own database.

Not here: what is tested with it.
"""

from typing import Any

import sqlalchemy as sa

from etl_assets.postgres.connection import make_engine


def run(url: str, *statements: str) -> list[Any]:
    """Execute statements as the owner; rows of the last one."""
    engine = make_engine(url, application_name="test")
    try:
        with engine.begin() as connection:
            result = [connection.execute(sa.text(statement)) for statement in statements][-1]
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


__all__ = ["run"]
