"""Text: white space, case, unicode, NULL markers, values by a map, masks and pseudonyms.

Not here: text that stands for a number, a date or a boolean (`types.py`).
"""

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from etl_assets.cleaning.step import SAMPLES, Step, each
from etl_assets.conversion import Unconverted
from etl_assets.errors import ContractDefinitionError
from etl_assets.frames import arrow_to_series, in_one


def null_markers(*markers: str, columns: Sequence[str] | None = None) -> Step:
    """Read exact texts such as "NA" as NULL, in the given columns or in all of text."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        chosen = list(columns) if columns is not None else [str(name) for name in frame if isinstance(frame[name].dtype, pd.StringDtype)]
        return frame.assign(**{name: frame[name].mask(frame[name].isin(markers)) for name in chosen})

    return Step(name=f"null markers {', '.join(markers)}", function=run, columns=tuple(columns) if columns is not None else None)


def trim(*columns: str) -> Step:
    """Remove white space around text; text of nothing else becomes NULL."""

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        trimmed = {name: _text(frame[name], str.strip) for name in columns}
        return frame.assign(**{name: values.mask(values == "") for name, values in trimmed.items()})

    return Step(name=f"trim {', '.join(columns)}", function=run, columns=columns)


def change_case(*columns: str, to: Literal["lower", "upper", "title"]) -> Step:
    """Write text in lower case, in capitals, or each word with one capital.

    Raises:
        ContractDefinitionError: `to` is none of these.
    """
    cases: dict[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper, "title": str.title}
    if to not in cases:
        raise ContractDefinitionError("change_case", f"to={to!r} is unknown; known: {list(cases)}.", "correct it.")

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: _text(frame[name], cases[to]) for name in columns})

    return Step(name=f"{to} case of {', '.join(columns)}", function=run, columns=columns)


def normalise_text(*columns: str, form: Literal["NFC", "NFKC"] = "NFC", remove_control: bool = True) -> Step:
    """Write characters in one unicode form, and take out NUL and other control characters, which PostgreSQL refuses or nobody sees.

    Tabs and line breaks stay.
    """

    def normal(text: str) -> str:
        text = unicodedata.normalize(form, text)
        if remove_control and not text.isprintable():
            return "".join(c for c in text if c in "\t\r\n" or unicodedata.category(c) != "Cc")
        return text

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: _text(frame[name], normal) for name in columns})

    shown = f"{form}, no control characters" if remove_control else form
    return Step(name=f"normalise {', '.join(columns)} ({shown})", function=run, columns=columns)


def map_values(column: str, mapping: Mapping[str, str], *, unmapped: Literal["keep", "null", "refuse"] = "keep") -> Step:
    """Replace the values that `mapping` names; the report tells which were not named.

    Args:
        column: The column.
        mapping: From value to value; what stands on the right side is known too.
        unmapped: What becomes of other values: "keep" them, read them as "null", or "refuse" them: they keep their text and go to the
            quarantine.

    Raises:
        ContractDefinitionError: `unmapped` is none of these.
    """
    if unmapped not in ("keep", "null", "refuse"):
        raise ContractDefinitionError("map_values", f"unmapped={unmapped!r} is unknown; known: keep, null, refuse.", "correct it.")
    known = {**{value: value for value in mapping.values()}, **mapping}

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column]
        others = values.notna() & ~values.isin(known)
        if unmapped == "refuse" and others.any():
            becomes = {
                value: known.get(value, Unconverted(value) if isinstance(value, str) else value) for value in values.dropna().unique()
            }
            return frame.assign(**{column: each(values, becomes)})
        mapped = values.map(known).where(values.isin(known), values).astype(values.dtype)
        return frame.assign(**{column: mapped.mask(others) if unmapped == "null" else mapped})

    def notes(before: pd.DataFrame, after: pd.DataFrame) -> str:
        counts = before[column][before[column].notna() & ~before[column].isin(known)].value_counts()
        shown = ", ".join(f"{value!r} {count} times" for value, count in counts.head(SAMPLES).items())
        return f"{len(counts)} values not in the map: {shown}" if len(counts) else ""

    return Step(name=f"map values of {column}", function=run, columns=(column,), notes=notes)


def mask(*columns: str, keep_last: int = 0, character: str = "*") -> Step:
    """Cover text but for its last characters; how long it was stays visible."""
    if keep_last < 0 or len(character) != 1:
        raise ContractDefinitionError("mask", f"keep_last={keep_last}, character={character!r} cannot be used.", "correct them.")

    def covered(text: str) -> str:
        kept = text[len(text) - keep_last :] if keep_last and len(text) > keep_last else ""
        return character * (len(text) - len(kept)) + kept

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: _text(frame[name], covered) for name in columns})

    return Step(name=f"mask {', '.join(columns)}", function=run, columns=columns, shows_values=False)


def pseudonymise(*columns: str, key: str) -> Step:
    """Replace text by a keyed hash (HMAC-SHA-256, 32 hexadecimal digits): equal texts stay equal, and cannot be guessed without the key.

    Args:
        columns: Columns of text.
        key: A secret of at least 16 characters; give it from an EnvVar.

    Raises:
        ContractDefinitionError: The key is too short.
    """
    if len(key) < 16:
        raise ContractDefinitionError("pseudonymise", "the key has fewer than 16 characters.", "give a longer secret.")

    def hashed(text: str) -> str:
        return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]

    def run(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: _text(frame[name], hashed) for name in columns})

    return Step(name=f"pseudonymise {', '.join(columns)}", function=run, columns=columns, shows_values=False)


def _text(values: "pd.Series[Any]", change: Callable[[str], str]) -> "pd.Series[Any]":
    """Text changed, each distinct one once; among objects what is no text, and text that a notation refused, stays."""
    if not isinstance(values.dtype, pd.StringDtype) and values.dtype != object:
        raise TypeError(f"{values.name} holds {values.dtype} values, not text")
    if isinstance(values.dtype, pd.StringDtype):
        encoded = in_one(pa.array(values, from_pandas=True)).dictionary_encode()
        changed = pa.array([change(value) for value in encoded.dictionary.to_pylist()], pa.large_string()).take(encoded.indices)
        return pd.Series(arrow_to_series(pa.chunked_array([changed])).array, index=values.index, dtype=values.dtype, name=values.name)
    known = {value: change(value) for value in values.dropna().unique() if isinstance(value, str) and not isinstance(value, Unconverted)}
    # Without map: pandas would make text of a column that is all text, and forget which was refused.
    cells = [known.get(cell, cell) if isinstance(cell, str) and not isinstance(cell, Unconverted) else cell for cell in values]
    return pd.Series(cells, index=values.index, dtype=object)


__all__ = ["change_case", "map_values", "mask", "normalise_text", "null_markers", "pseudonymise", "trim"]
