"""Bytes to text, strictly: a byte order mark says the encoding, or it is declared, or it is UTF-8; a guess is asked for and labelled.

Not here: files.
"""

import codecs
import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import charset_normalizer

from etl_assets.errors import ConfigurationError, SourceFormatError

GUESS = "guess"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 256 * 1024
_ENOUGH_TO_TELL = 50
_USUAL = (
    "ascii", "utf_8", "utf_16", "utf_32", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp437", "cp850",
    "iso8859_2", "iso8859_15", "koi8_r", "mac_roman", "cp932", "euc_jp", "big5", "gb18030", "cp949",
)  # fmt: skip


@contextlib.contextmanager
def open_text(file: BinaryIO, encoding: str | None, *, where: str) -> Iterator[tuple[io.TextIOWrapper, str]]:
    """A file as text, line ends kept, and how its encoding is known, such as "utf-8" or "cp1252 (a guess)".

    Args:
        file: At its start; a buffered reader.
        encoding: Declared; None for what the byte order mark says, or UTF-8; "guess" to guess where there is no mark.
        where: For errors.

    Raises:
        ConfigurationError: The encoding is unknown.
        SourceFormatError: It starts with the mark of another encoding than the declared one; and inside the block, where a byte is not of
            the encoding; the message says which, and what it looks like.
    """
    buffered: Any = file
    start = buffered.peek(4)[:4]
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    chosen, known = _choose(buffered, encoding, marked, where)
    try:
        text = io.TextIOWrapper(buffered, encoding=chosen, errors="strict", newline="")
    except (LookupError, ValueError) as error:  # base64 is a codec, but none of text
        raise _unknown(where, chosen) from error
    try:
        yield text, known
    except UnicodeError as error:
        sample = error.object[max(0, error.start - 2000) : error.start + 2000] if isinstance(error, UnicodeDecodeError) else b""
        seems = marked or (_guess(sample) if sample else None)
        byte = f"byte 0x{error.object[error.start]:02x}: " if isinstance(error, UnicodeDecodeError) else ""
        hint = f"declare its encoding; it may be {seems} (a guess)." if seems else "declare its encoding, such as cp1252."
        raise SourceFormatError(where, f"the file is not {known} ({byte}{getattr(error, 'reason', error)}).", hint) from error
    finally:
        with contextlib.suppress(ValueError):  # closed with the file already
            text.detach()


def _choose(buffered: Any, encoding: str | None, marked: str | None, where: str) -> tuple[str, str]:
    if encoding in (None, GUESS) and marked is not None:
        return marked, f"{marked.removesuffix('-sig')} (byte order mark)"
    if encoding is None:
        return "utf-8", "utf-8"
    if encoding != GUESS:
        return _declared(encoding, marked, where)
    guessed = _guess(buffered.peek(_SAMPLE_BYTES)[:_SAMPLE_BYTES])
    if guessed is None:
        raise SourceFormatError(where, "no encoding fits the file.", "declare it.")
    return guessed, f"{guessed} (a guess)"


def _declared(encoding: str, marked: str | None, where: str) -> tuple[str, str]:
    """A mark of the declared encoding is no text; one of another encoding would become odd letters in the first name."""
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        raise _unknown(where, encoding) from error
    if marked is not None and name.startswith(marked.removesuffix("-sig")):
        return marked, f"{marked.removesuffix('-sig')} (byte order mark)"
    if marked == "utf-8-sig":
        raise SourceFormatError(where, f"the file starts with the byte order mark of utf-8, not {encoding}.", "leave the encoding out.")
    return encoding, encoding


def _unknown(where: str, encoding: str) -> ConfigurationError:
    return ConfigurationError(where, f"the encoding {encoding!r} is unknown.", "name one that Python knows, such as cp1252.")


def _guess(sample: bytes) -> str | None:
    """The likeliest of the usual encodings; Western European where there is too little to tell; None where none fits."""
    with contextlib.suppress(UnicodeDecodeError):
        # What is valid UTF-8 hardly ever is anything else; a sample may end inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8"
    if sum(byte > 127 for byte in sample) >= _ENOUGH_TO_TELL:
        whole = sample[: sample.rfind(b"\n") + 1] or sample
        best = charset_normalizer.from_bytes(whole, cp_isolation=list(_USUAL)).best()
        if best is not None:
            return str(best.encoding)
    with contextlib.suppress(UnicodeDecodeError):
        sample.decode("cp1252")
        return "cp1252"
    return None


__all__ = ["GUESS", "open_text"]
