"""Workbooks that tests write: by openpyxl, by its XML changed by hand, and the two kinds that it cannot write.

Not here: workbooks that other people wrote (`acceptance/test_torture_files.py`).
"""

import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl

_SHEET = "xl/worksheets/sheet1.xml"
_ODS = (
    '<?xml version="1.0" encoding="UTF-8"?><office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">'
    "<office:body><office:spreadsheet>{}</office:spreadsheet></office:body></office:document-content>"
)


def write_workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[Any]]], change: Callable[[Any], None] | None = None) -> None:
    """Write rows from A1 on, None for an empty cell, one list of rows per sheet.

    Args:
        path: Where.
        sheets: Rows by name of the sheet.
        change: Called with the workbook before it is saved.
    """
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.worksheets[0])
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for number, row in enumerate(rows, start=1):
            for place, value in enumerate(row, start=1):
                if value is not None:
                    sheet.cell(number, place, value)
    if change is not None:
        change(workbook)
    workbook.save(path)


def edit(path: Path, change: Callable[[str], str], part: str = _SHEET) -> None:
    """Change the text of one file inside a workbook."""
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    parts[part] = change(parts[part].decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def write_xml(path: Path, rows: str) -> None:
    """Write a workbook whose only sheet, "Data", has these `<row>` elements."""
    write_workbook(path, {"Data": [["x"]]})
    edit(path, lambda xml: re.sub("<sheetData>.*</sheetData>", lambda _: f"<sheetData>{rows}</sheetData>", xml, flags=re.DOTALL))


def text_cell(place: str, text: str) -> str:
    """The XML of a cell with a text."""
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def write_ods(path: Path, tables: str) -> None:
    """Write an OpenDocument spreadsheet of these `<table:table>` elements."""
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", kind)
        archive.writestr("META-INF/manifest.xml", manifest)
        archive.writestr("content.xml", _ODS.format(tables))


def encrypted_workbook() -> bytes:
    """What Excel saves when a password is set: a compound file with the streams EncryptionInfo and EncryptedPackage."""
    free, end, fat_sector, stream_bytes = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 4096

    def entry(name: str, kind: int, left: int, right: int, child: int, start: int, size: int) -> bytes:
        encoded = name.encode("utf-16-le")
        length = len(encoded) + 2 if name else 0
        return encoded.ljust(64, b"\0") + struct.pack("<HBBIII16sIQQIQ", length, kind, 1, left, right, child, b"", 0, 0, 0, start, size)

    header = bytes.fromhex("D0CF11E0A1B11AE1") + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, stream_bytes, end, 0, end, 0) + struct.pack("<I", 0) + struct.pack("<I", free) * 108
    sectors = stream_bytes // 512
    chain = [fat_sector, end, *range(3, 2 + sectors), end, *range(3 + sectors, 2 + 2 * sectors), end]
    fat = struct.pack("<128I", *chain, *[free] * (128 - len(chain)))
    directory = (
        entry("Root Entry", 5, free, free, 1, end, 0)
        + entry("EncryptionInfo", 2, free, 2, free, 2, stream_bytes)
        + entry("EncryptedPackage", 2, free, free, free, 2 + sectors, stream_bytes)
        + entry("", 0, free, free, free, 0, 0)
    )
    return header + fat + directory + bytes(2 * stream_bytes)


__all__ = ["edit", "encrypted_workbook", "text_cell", "write_ods", "write_workbook", "write_xml"]
