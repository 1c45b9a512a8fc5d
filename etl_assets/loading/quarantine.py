"""Rows in quarantine: which are missing from their tables, as values, as a frame, as a file for people.

Not here: how rows get there (`ledger.py`), bringing them in after all (`replay.py`), what people see of them (`cli.py`).
"""

import datetime
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from etl_assets.accounting import SOURCE_POSITION
from etl_assets.errors import ConfigurationError, SourceNotFoundError
from etl_assets.frames import TEXT
from etl_assets.loading import sql as statements
from etl_assets.loading.postgres import PostgresResource

# What spreadsheets take for a formula; a plain number with its sign is none.
_FORMULA = re.compile(r"(?![+-]?[0-9][0-9.,]*$)[=+\-@\t\r]")


@dataclass(frozen=True, kw_only=True)
class QuarantinedRow:
    """One row that a contract refused.

    Attributes:
        id: Its number in etl.quarantine.
        asset: Asset key, such as "clean/flights".
        load_id: The load that refused it.
        run_id: The run of that load; None outside one.
        position: Where it stood in its source; None when unknown.
        record: The row as it was before conversion.
        rules: Names of the rules it broke.
        message: The same in words.
        quarantined_at: When.
    """

    id: int
    asset: str
    load_id: str
    run_id: str | None
    position: str | None
    record: dict[str, Any]
    rules: tuple[str, ...]
    message: str
    quarantined_at: datetime.datetime


def open_rows(postgres: PostgresResource, asset: str | None = None) -> list[QuarantinedRow]:
    """Rows that are missing from their tables, oldest first.

    Of an asset whose table was replaced since, only those of its last load are; of one that appends or merges, those of all loads that were
    not replayed.

    Args:
        postgres: Where the tables are.
        asset: Asset key; None for all assets.

    Raises:
        EtlError: PostgreSQL cannot be reached or refuses.
    """
    return _rows(postgres, statements.OPEN_ROWS, asset)


def refused_rows(postgres: PostgresResource, asset: str | None = None) -> list[QuarantinedRow]:
    """Rows that the newest load of each asset refused, where that load failed as a whole: nothing of it is in the table."""
    return _rows(postgres, statements.REFUSED_ROWS, asset)


def row_of(postgres: PostgresResource, number: int) -> QuarantinedRow:
    """One row by its number, whatever became of it.

    Raises:
        SourceNotFoundError: There is none.
    """
    found = _rows(postgres, statements.ROW_BY_ID, None, number=number)
    if not found:
        raise SourceNotFoundError(f"quarantine row {number}", "there is no such row.", "see `etl-assets quarantine list`.")
    return found[0]


def frame_of(rows: Sequence[QuarantinedRow]) -> pd.DataFrame:
    """The records as a frame, as the asset's function returned them, with `source_position`.

    Rows of a source that could not be read have no columns, and come out with the column `raw` only.
    """
    frame = pd.DataFrame([row.record for row in rows])
    for name in frame.columns:
        values = frame[name]
        if values.map(lambda value: isinstance(value, str) or value is None or value != value).all():
            frame[name] = values.astype(TEXT)
    frame[SOURCE_POSITION] = pd.array([row.position for row in rows], dtype=TEXT)
    return frame


def export_rows(rows: Sequence[QuarantinedRow], file: Path, *, guarded: bool = True) -> int:
    """Write rows into a file for people: one column per column of the records, and what they broke.

    Args:
        rows: The rows.
        file: Its suffix says the format: .csv, .xlsx or .jsonl.
        guarded: Put an apostrophe before cells that a spreadsheet would take for formulas (.csv, .xlsx).

    Returns:
        How many rows were written.

    Raises:
        ConfigurationError: Another suffix, or the file cannot be written.
    """
    about = [{"quarantine_id": row.id, "position": row.position, "rules": ", ".join(row.rules), "message": row.message} for row in rows]
    try:
        if file.suffix == ".jsonl":
            lines = [json.dumps({**one, "record": row.record}, ensure_ascii=False) for one, row in zip(about, rows, strict=True)]
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            return len(rows)
        records = [{name: _cell(value) for name, value in row.record.items()} for row in rows]
        frame = pd.DataFrame([{**one, **record} for one, record in zip(about, records, strict=True)]).astype(object)
        frame = frame.where(frame.notna(), None)
        if guarded:
            frame = frame.map(lambda cell: f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell)
        if file.suffix == ".csv":
            frame.to_csv(file, index=False)
        elif file.suffix == ".xlsx":
            frame.to_excel(file, index=False, sheet_name="quarantine")
        else:
            raise ConfigurationError(str(file), "its suffix names no format that is written.", "name a .csv, .xlsx or .jsonl file.")
    except OSError as error:
        raise ConfigurationError(str(file), f"it cannot be written ({error.strerror or error}).", "name another file.") from error
    return len(rows)


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _rows(postgres: PostgresResource, query: str, asset: str | None, **parameters: Any) -> list[QuarantinedRow]:
    if not postgres.has_table("quarantine", schema="etl"):
        return []
    found = postgres.read_rows(query, {"asset": asset, **parameters})
    return [
        QuarantinedRow(
            id=number,
            asset=name,
            load_id=load_id,
            run_id=run_id,
            position=position,
            # Numbers keep their digits: a float would round them.
            record=json.loads(record, parse_float=str),
            rules=tuple(rules),
            message=message,
            quarantined_at=at,
        )
        for number, name, load_id, run_id, position, record, rules, message, at in found
    ]


__all__ = ["QuarantinedRow", "export_rows", "frame_of", "open_rows", "refused_rows", "row_of"]
