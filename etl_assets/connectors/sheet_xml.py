"""What calamine does not tell, in the XML of a sheet of .xlsx: errors, formulas without a value, digits, and how far its cells lie apart;
and the blanks that it drops from texts of .ods.

Not here: reading the sheet (`excel.py`).
"""

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from defusedxml import ElementTree

from etl_assets.errors import SourceFormatError

_SUSPECT = re.compile(rb"<f[\s>/]"), re.compile(rb"v>-?[0-9]{16}"), re.compile(rb't="e"'), re.compile(rb"t='e'")
_PLACED_CELL = re.compile(rb"""<(?:\w+:)?c\b[^>]*?\sr=["']([A-Za-z]+)([0-9]+)["'][^>]*?(/?)>""")
_NEGATIVE = re.compile(rb"v>-")
_LONG_INTEGER = re.compile(r"-?[0-9]{16,}")
_ROOT = re.compile(rb"<((?:\w+:)?worksheet)\b[^>]*>")
_CELL = re.compile(rb"<c\b[^>]*?/>|<c\b.*?</c>", re.DOTALL)
_BYTES_PER_CELL = 16


def sheet_xml(content: bytes, sheet: str, where: str) -> bytes | None:
    """The XML of a sheet; None where there is none, as in .xls, .xlsb and .ods.

    Raises:
        SourceFormatError: The archive is broken.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            part = _part_of(archive, sheet)
            return archive.read(part) if part is not None else None
    except Exception as error:  # a broken archive or XML raises one of many kinds
        raise SourceFormatError(where, f"it cannot be read ({error}).", "save it as .xlsx and deliver it again.") from error


def _part_of(archive: zipfile.ZipFile, sheet: str) -> str | None:
    parts = {name.replace("\\", "/").lower(): name for name in archive.namelist()}
    if "xl/workbook.xml" not in parts:
        return None
    workbook = ElementTree.fromstring(archive.read(parts["xl/workbook.xml"]))
    element = next((e for e in workbook.iter() if e.tag.endswith("}sheet") and e.get("name") == sheet), None)
    if element is None:
        return None
    relation = next((value for name, value in element.items() if name.endswith("}id")), None)
    relations = ElementTree.fromstring(archive.read(parts["xl/_rels/workbook.xml.rels"]))
    target = next((e.get("Target", "") for e in relations if e.get("Id") == relation), "")
    return parts.get(posixpath.normpath(posixpath.join("/xl", target)).lstrip("/").lower())


def refuse_vast(xml: bytes, most_bytes: int, where: str) -> None:
    """Refuse a sheet with cells so far apart that the area they span cannot be held: calamine would end the process.

    Raises:
        SourceFormatError: The message tells how many rows and columns they span.
    """
    rows = [int(number or 0) for number in _references(xml, b"row", rb"([0-9]+)")]
    columns = {letters.decode() for letters in _references(xml, b"c", rb"([A-Z]+)[0-9]+")}
    # Rows and cells may leave out where they are; then they follow the ones before.
    height = max(rows, default=0) + rows.count(0)
    width = max(map(column_number, columns), default=0)
    if "" in columns:
        width += max(_references(row, b"c", rb"([A-Z]+)[0-9]+").count(b"") for row in re.split(rb"<(?:\w+:)?row\b", xml))
    elif height * width * _BYTES_PER_CELL > most_bytes:
        # Cells of a format and nothing else, which some programs write up to the last row, do not count.
        filled = [found for found in _PLACED_CELL.finditer(xml) if not found[3]]
        height = max((int(found[2]) for found in filled), default=0)
        width = max((column_number(found[1].decode()) for found in filled), default=0)
    if height * width * _BYTES_PER_CELL > most_bytes:
        raise SourceFormatError(
            where, f"its cells span {height} rows and {width} columns.", "remove cells far outside the table, or raise file_bytes."
        )


def _references(xml: bytes, tag: bytes, reference: bytes) -> list[bytes]:
    """The reference of each element of a name; empty for one that says none."""
    quick = re.findall(rb"<%b r=\"%b\"" % (tag, reference), xml)  # as nearly all programs write it
    if quick and len(quick) == sum(xml.count(b"<%b%b" % (tag, after)) for after in (b" ", b">", b"/")):
        return quick
    return re.findall(rb"<(?:\w+:)?%b\b(?:[^>]*?\sr=[\"']%b[\"'])?" % (tag, reference), xml, re.IGNORECASE)


def corrections(xml: bytes, times: set[tuple[int, int]], where: str) -> tuple[dict[tuple[int, int], str], set[tuple[int, int]]]:
    """Cells that calamine gives otherwise than they are, with their text, and cells with a formula without a value.

    Errors look empty to it, integers of more than 16 digits lose digits, and a negative number that is formatted as a date or a time
    becomes some time of day.

    Args:
        xml: Of the sheet.
        times: Cells that calamine gives as a time of day: row and column, counted from 1.
        where: For errors.

    Raises:
        SourceFormatError: The XML is broken.
    """
    texts: dict[tuple[int, int], str] = {}
    uncalculated: set[tuple[int, int]] = set()
    suspects = [suspect for suspect in (*_SUSPECT, *([_NEGATIVE] if times else [])) if suspect.search(xml)]
    if not suspects and b"<row" in xml:
        return texts, uncalculated
    try:
        for place, element in _cells(xml, suspects):
            text, missing = _cell(element, is_time=place in times)
            if text is not None:
                texts[place] = text
            elif missing:
                uncalculated.add(place)
    except Exception as error:  # a broken XML raises one of many kinds
        raise SourceFormatError(where, f"its formulas cannot be read ({error}).", "save it as .xlsx and deliver it again.") from error
    return texts, uncalculated


def _cells(xml: bytes, suspects: Sequence["re.Pattern[bytes]"]) -> Iterator[tuple[tuple[int, int], Any]]:
    """Cells and their places; only the suspect ones, where cells say their place."""
    root = _ROOT.search(xml)
    if root is not None and b"<row" in xml and b"" not in _references(xml, b"c", rb"([A-Z]+[0-9]+)"):
        found = b"".join(cell for cell in _CELL.findall(xml) if any(suspect.search(cell) for suspect in suspects))
        for element in ElementTree.fromstring(b"%b%b</%b>" % (root[0], found, root[1])):
            yield _place(element.get("r")), element
        return
    row = 0
    for element in ElementTree.fromstring(xml).iter():
        if element.tag.endswith("}row"):
            row, column = int(element.get("r") or row + 1), 0
            for cell in element:
                place = _place(cell.get("r") or f"{column_letters(column + 1)}{row}")
                column = place[1]
                yield place, cell


def _cell(element: Any, *, is_time: bool) -> tuple[str | None, bool]:
    """The text of a cell where calamine gives another one, and whether a formula lacks its value."""
    kind = element.get("t") or "n"
    value, formula, text = None, False, False
    for child in element:
        tag = child.tag.rpartition("}")[2]
        if tag == "v":
            value = child.text or ""
        formula, text = formula or tag == "f", text or tag == "is"
    if kind == "e":
        return value or "#N/A", False
    if formula and not text and (value is None or (value == "" and kind == "n")):
        return None, True
    if kind == "n" and value and (_LONG_INTEGER.fullmatch(value) or (is_time and value.startswith("-"))):
        return value, False
    return None, False


def with_ods_blanks(content: bytes) -> bytes:
    """A spreadsheet of .ods whose tabs and line breaks are characters, which calamine keeps, not elements; other files as they are."""
    if not content.startswith(b"PK") or b"content.xml" not in content:
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # a broken archive, which calamine refuses
        return content
    xml = parts.get("content.xml", b"")
    changed = re.sub(rb"<text:line-break\s*/>", b"&#10;", re.sub(rb"<text:tab\b[^>]*/>", b"&#9;", xml))
    if changed == xml:
        return content
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, changed if name == "content.xml" else part)
    return buffer.getvalue()


def _place(reference: str) -> tuple[int, int]:
    """Row and column of "B3", counted from 1."""
    letters = reference.rstrip("0123456789")
    return int(reference[len(letters) :]), column_number(letters)


def column_number(letters: str) -> int:
    """2 for "B"."""
    number = 0
    for letter in letters.replace("$", "").upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def column_letters(column: int) -> str:
    """ "B" for 2."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


__all__ = ["column_letters", "column_number", "corrections", "refuse_vast", "sheet_xml", "with_ods_blanks"]
