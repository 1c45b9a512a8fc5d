"""Sheets of Excel workbooks, read as text by declared rules: which sheet, which header rows, where the footer starts.

calamine reads the values, openpyxl the merged ranges of the header. Not here: conversion to types (contracts do that).
"""

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import openpyxl
import pandas as pd
import python_calamine
from pydantic import Field

from etl_assets.accounting import SOURCE_POSITION, StepReport, record_read, record_step
from etl_assets.connectors.files import read_bytes, resolve_inside
from etl_assets.errors import SourceFormatError, SourceNotFoundError
from etl_assets.frames import TEXT


class ExcelResource(dg.ConfigurableResource["ExcelResource"]):
    """Workbooks below one folder."""

    base_folder: str = Field(description="Folder that all paths are relative to; no path may lead out of it.")

    def read(self, path: str, *, sheet: str, header_rows: Sequence[int] = (1,), footer_starts_with: str | None = None) -> pd.DataFrame:
        """The data rows of one sheet as text.

        Args:
            path: Workbook below `base_folder`.
            sheet: Name of the sheet.
            header_rows: Rows that name the columns, counted from 1; several rows are joined by a blank, a merged cell counts for
                every column it covers. Rows above are ignored, data starts below the last one.
            footer_starts_with: The first row whose first filled cell starts with this text, and all rows below it, are dropped and
                reported as step "footer".

        Returns:
            One row per data row, empty rows left out: whole numbers without decimals ("16"), dates as ISO 8601, booleans as "true"
            and "false", empty cells as NULL; and `source_position` ("airlines.xlsx Carriers row 5").

        Raises:
            SourceNotFoundError: No such file or sheet; the message lists the sheets.
            SourceFormatError: No workbook, missing or repeated column names, or a cell outside the named columns.
        """
        file = resolve_inside(self.base_folder, path)
        where = f"{file} sheet {sheet}"
        names = _header(file, sheet, header_rows, where)
        rows = _values(file, sheet)
        data: list[list[str | None]] = []
        numbers: list[int] = []
        footer_rows = 0
        for number, row in enumerate(rows, start=1):
            if number <= max(header_rows):
                continue
            cells = [_text(value) for value in row]
            filled = [cell for cell in cells if cell is not None]
            if not filled:
                continue
            if footer_rows or (footer_starts_with is not None and filled[0].startswith(footer_starts_with)):
                footer_rows += 1
                continue
            if any(cell is not None for cell in cells[len(names) :]):
                raise SourceFormatError(where, f"row {number} has a value beyond the named columns {names}.", "correct header_rows.")
            data.append((cells + [None] * len(names))[: len(names)])
            numbers.append(number)
        record_read(where, len(data) + footer_rows)
        if footer_rows:
            record_step(
                StepReport(
                    step=f"footer from {footer_starts_with!r}",
                    rows_in=len(data) + footer_rows,
                    rows_out=len(data),
                    cells_changed=0,
                    seconds=0.0,
                )
            )
        columns: dict[str, Any] = {name: pd.array([row[place] for row in data], dtype=TEXT) for place, name in enumerate(names)}
        columns[SOURCE_POSITION] = pd.array([f"{file.name} {sheet} row {number}" for number in numbers], dtype=TEXT)
        return pd.DataFrame(columns)


def _values(file: Path, sheet: str) -> list[list[Any]]:
    read_bytes(file)
    try:
        with python_calamine.CalamineWorkbook.from_path(str(file)) as workbook:
            if sheet not in workbook.sheet_names:
                raise SourceNotFoundError(
                    str(file), f"there is no sheet {sheet!r}; present: {workbook.sheet_names}.", "correct the name of the sheet."
                )
            return workbook.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
    except python_calamine.CalamineError as error:
        raise SourceFormatError(str(file), f"this is no readable workbook ({error}).", "save it as .xlsx and deliver it again.") from error


def _header(file: Path, sheet: str, header_rows: Sequence[int], where: str) -> list[str]:
    rows = _values(file, sheet)
    if not header_rows or min(header_rows) < 1 or max(header_rows) > len(rows):
        raise SourceFormatError(where, f"header_rows {tuple(header_rows)} lie outside its {len(rows)} rows.", "correct header_rows.")
    header = {row: [_text(value) for value in rows[row - 1]] for row in header_rows}
    if len(header_rows) > 1:
        for left, top, right, bottom in _merged_ranges(file, sheet):
            for row in header_rows:
                if top <= row <= bottom:
                    value = header[top][left - 1] if top in header else None
                    header[row][left - 1 : right] = [value] * (right - left + 1)
    names = []
    for place in range(max(map(len, header.values()))):
        # A cell merged downwards names its column once, not once per header row.
        parts = dict.fromkeys(cells[place] for cells in header.values() if place < len(cells) and cells[place] is not None)
        names.append(" ".join(re.sub(r"\s+", " ", part).strip() for part in parts if part is not None))
    while names and not names[-1]:
        names.pop()
    if not names or "" in names or len(set(names)) < len(names):
        raise SourceFormatError(
            where, f"the header rows {tuple(header_rows)} give the column names {names}, some empty or repeated.", "correct header_rows."
        )
    return names


def _merged_ranges(file: Path, sheet: str) -> list[tuple[int, int, int, int]]:
    workbook = openpyxl.load_workbook(file)
    try:
        return [merged.bounds for merged in workbook[sheet].merged_cells.ranges]
    finally:
        workbook.close()


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


__all__ = ["ExcelResource"]
