"""Sheets of Excel workbooks, read as text by declared rules: which sheet, which header rows, where the footer starts.

calamine reads values and merged ranges, openpyxl the cells that hold an error, which calamine leaves empty. Not here: conversion to
types (contracts do that).
"""

import datetime
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import openpyxl
import pandas as pd
import python_calamine
from pydantic import Field

from etl_assets.accounting import SOURCE_POSITION, StepReport, record_read, record_step
from etl_assets.connectors.files import read_bytes, resolve_inside
from etl_assets.connectors.records import refuse_reserved
from etl_assets.errors import SourceFormatError, SourceNotFoundError
from etl_assets.frames import TEXT

_ERROR_CELL = re.compile(rb"""\st=["']e["']""")


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
            and "false", errors as Excel shows them ("#DIV/0!"; in .xls and .ods they cannot be told from empty cells), empty cells as
            NULL; and `source_position` ("airlines.xlsx Carriers row 5").

        Raises:
            SourceNotFoundError: No such file or sheet; the message lists the sheets.
            SourceFormatError: No workbook, missing, repeated or reserved column names, or a cell outside the named columns.
        """
        file = resolve_inside(self.base_folder, path)
        where = f"{file} sheet {sheet}"
        content = _content(file, sheet)
        names = _header(content, header_rows, where)
        first = max(header_rows) + 1
        rows = {number: cells for number, cells in enumerate(content.rows[first - 1 :], start=first) if any(cells)}
        footer = _footer(rows, footer_starts_with)
        if footer_starts_with is not None and footer is None and rows:
            last = next(cell for cell in rows[max(rows)] if cell is not None)
            raise SourceFormatError(
                where,
                f"no row starts with {footer_starts_with!r}; the last one starts with {last!r}.",
                "correct footer_starts_with, or leave it out.",
            )
        data = {number: cells for number, cells in rows.items() if footer is None or number < footer}
        for number, cells in data.items():
            if any(cells[len(names) :]):
                raise SourceFormatError(where, f"row {number} has a value beyond the named columns {names}.", "correct header_rows.")
        record_read(where, len(rows))
        if footer is not None:
            record_step(
                StepReport(step=f"footer from {footer_starts_with!r}", rows_in=len(rows), rows_out=len(data), cells_changed=0, seconds=0.0)
            )
        columns: dict[str, Any] = {
            name: pd.array([cells[place] for cells in data.values()], dtype=TEXT) for place, name in enumerate(names)
        }
        columns[SOURCE_POSITION] = pd.array([f"{file.name} {sheet} row {number}" for number in data], dtype=TEXT)
        return pd.DataFrame(columns)


@dataclass(frozen=True, kw_only=True)
class _Content:
    """One sheet.

    Attributes:
        rows: Its rows from row 1 on, all of one length, each cell as text or None.
        merged: Its merged ranges: first row, first column, last row, last column, counted from 0.
    """

    rows: list[list[str | None]]
    merged: list[tuple[int, int, int, int]]


def _content(file: Path, sheet: str) -> _Content:
    content = read_bytes(file)
    try:
        with python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content)) as workbook:
            if sheet not in workbook.sheet_names:
                raise SourceNotFoundError(
                    str(file), f"there is no sheet {sheet!r}; present: {workbook.sheet_names}.", "correct the name of the sheet."
                )
            found = workbook.get_sheet_by_name(sheet)
            rows = [[_text(value) for value in row] for row in found.to_python(skip_empty_area=False)]
            merged = [(*start, *end) for start, end in found.merged_cell_ranges or []]
    except python_calamine.CalamineError as error:
        raise SourceFormatError(str(file), f"this is no readable workbook ({error}).", "save it as .xlsx and deliver it again.") from error
    for row, column, text in _error_cells(content, sheet, str(file)):
        rows[row - 1][column - 1] = text
    return _Content(rows=rows, merged=merged)


def _error_cells(content: bytes, sheet: str, where: str) -> list[tuple[int, int, str]]:
    """Row, column and text of the cells that hold an error such as #DIV/0!, which calamine gives as empty; .xlsx only."""
    try:
        if not _may_hold_errors(content):
            return []
        found = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)[sheet]
        found.reset_dimensions()  # some programs write an extent that is too small
        return [
            (number, place, str(cell.value))
            for number, row in enumerate(found.iter_rows(), start=1)
            for place, cell in enumerate(row, start=1)
            if cell.data_type == "e"
        ]
    except Exception as error:  # openpyxl has no error of its own for what it cannot read
        raise SourceFormatError(
            where, f"the error cells of the workbook cannot be read ({error}).", "save it as .xlsx and deliver it again."
        ) from error


def _may_hold_errors(content: bytes) -> bool:
    # openpyxl takes about four times as long as calamine, so it reads only what holds an error cell.
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return any(_ERROR_CELL.search(archive.read(name)) for name in archive.namelist() if name.startswith("xl/"))


def _header(content: _Content, header_rows: Sequence[int], where: str) -> list[str]:
    if not header_rows or min(header_rows) < 1 or max(header_rows) > len(content.rows):
        raise SourceFormatError(
            where, f"header_rows {tuple(header_rows)} lie outside its {len(content.rows)} rows.", "correct header_rows."
        )
    header = {row - 1: list(content.rows[row - 1]) for row in header_rows}
    for top, left, bottom, right in content.merged if len(header) > 1 else []:
        value = header[top][left] if top in header else None
        for row in header.keys() & range(top, bottom + 1):
            covered = slice(left, min(right + 1, len(header[row])))  # a range may reach beyond the last filled column
            header[row][covered] = [value] * (covered.stop - left)
    names = []
    for cells in zip(*header.values(), strict=True):
        # A cell merged downwards names its column once, not once per header row.
        parts = dict.fromkeys(cell for cell in cells if cell is not None)
        names.append(" ".join(" ".join(part.split()) for part in parts))
    while names and not names[-1]:
        names.pop()
    if not names or "" in names or len(set(names)) < len(names):
        raise SourceFormatError(
            where, f"the header rows {tuple(header_rows)} give the column names {names}, some empty or repeated.", "correct header_rows."
        )
    refuse_reserved(names, where)
    return names


def _footer(rows: Mapping[int, Sequence[str | None]], starts_with: str | None) -> int | None:
    """Number of the row where the footer starts; None without one."""
    if starts_with is None:
        return None
    return next((number for number, cells in rows.items() if next(filter(None, cells)).startswith(starts_with)), None)


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


__all__ = ["ExcelResource"]
