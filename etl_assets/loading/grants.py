"""What a role needs to load, and no more, as a script for an administrator.

A loader owns the tables it makes, so it may replace and alter them; of tables that others own it may change rows, not the shape. It makes
no schemas, reads no other schema, and is no superuser.

Not here: executing it.
"""

from collections.abc import Iterable


def grant_script(role: str, schemas: Iterable[str]) -> str:
    """The script, for psql and the database it is connected to; it may run again.

    Args:
        role: The loader, which must exist.
        schemas: Schemas of the tables; `etl` for the bookkeeping comes along.
    """
    who = _quoted(role)
    lines = [
        f"-- What the role {' '.join(role.split())} needs to load; run it as an administrator, with psql. It may run again.",
        f'GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO {who};  -- merges are staged in temporary tables',
    ]
    for schema in sorted({*schemas, "etl"}):
        name = _quoted(schema)
        lines += [
            f"CREATE SCHEMA IF NOT EXISTS {name};",
            f"GRANT USAGE, CREATE ON SCHEMA {name} TO {who};",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO {who};  -- those that are there already",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {name} TO {who};  -- of their serial columns",
        ]
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


__all__ = ["grant_script"]
