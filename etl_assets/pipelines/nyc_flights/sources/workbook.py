"""The Excel workbook of carriers: the values are real, the layout is ours, made to look like what people send.

A title, a header of two rows with a merged cell, dates as text (month/day/year), a totals footer and a note below it.
"""

from pathlib import Path

import openpyxl
from openpyxl.styles import Alignment, Font

from etl_assets.pipelines.nyc_flights.sources.data import rows_of

SHEET = "Carriers"


def write_workbook(path: Path) -> None:
    """Write the workbook: carrier, name, first flight and number of flights, counted from the published flights."""
    first: dict[str, tuple[int, int, int]] = {}
    count: dict[str, int] = {}
    for flight in rows_of("flights.csv"):
        carrier = flight["carrier"]
        day = (int(flight["year"]), int(flight["month"]), int(flight["day"]))
        first[carrier] = min(first.get(carrier, day), day)
        count[carrier] = count.get(carrier, 0) + 1

    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.title = SHEET
    bold = Font(bold=True)
    sheet["A1"] = "Carriers operating from New York City, 2013"
    sheet["A1"].font = Font(bold=True, size=14)
    sheet["A3"], sheet["C3"], sheet["D3"] = "Carrier", "First flight", "Flights in 2013"
    sheet["A4"], sheet["B4"] = "Code", "Name"
    sheet.merge_cells("A3:B3")
    sheet.merge_cells("C3:C4")
    sheet.merge_cells("D3:D4")
    for cell in ("A3", "C3", "D3", "A4", "B4"):
        sheet[cell].font, sheet[cell].alignment = bold, Alignment(horizontal="center")
    carriers = list(rows_of("airlines.csv"))
    for number, airline in enumerate(carriers, start=5):
        first_year, first_month, first_day = first[airline["carrier"]]
        sheet.cell(number, 1, airline["carrier"])
        sheet.cell(number, 2, airline["name"])
        sheet.cell(number, 3, f"{first_month:02}/{first_day:02}/{first_year}")
        sheet.cell(number, 4, count[airline["carrier"]])
    footer = 5 + len(carriers)
    sheet.cell(footer, 1, "Total").font = bold
    sheet.cell(footer, 4, sum(count.values())).font = bold
    sheet.cell(footer + 1, 1, "Source: US Bureau of Transportation Statistics")
    sheet.column_dimensions["B"].width = 30
    workbook.save(path)


__all__ = ["SHEET", "write_workbook"]
