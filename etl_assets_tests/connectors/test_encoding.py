"""Encodings: what a byte order mark says, what is declared, and a guess that is always labelled."""

import codecs
import logging
from pathlib import Path

import pytest

from etl_assets.connectors.files import FilesResource
from etl_assets.errors import ConfigurationError, SourceFormatError
from etl_assets_tests.connectors.file_reading import accounted, put, rows_of

WESTERN = "Straße,Größe\n" + "Müller über Öl,äöüß\n" * 12
CENTRAL = "město,název\n" + "Žluťoučký kůň příšerně úpěl ďábelské,ódy\n" * 12
CYRILLIC = "имя,город\n" + "Иван Петров работает в Москве,Москва\n" * 12
JAPANESE = "名前,住所\n" + "山田太郎は東京に住んでいます,東京都\n" * 12


@pytest.fixture
def files(tmp_path: Path) -> FilesResource:
    """Files below an empty folder."""
    return FilesResource(base_folder=str(tmp_path))


def expected(text: str) -> list[list[str]]:
    """The cells of a CSV text without quotes, the header included."""
    return [line.split(",") for line in text.splitlines()]


def cells(files: FilesResource, **options: str) -> list[list[str | None]]:
    """The cells of a.csv, the header included."""
    frame = files.read_csv("a.csv", **options)
    return [list(frame.columns[:-1]), *rows_of(frame)]


# -- byte order marks --------------------------------------------------------------------------------------------------

MARKED = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
]


@pytest.mark.parametrize(("mark", "encoding"), MARKED)
@pytest.mark.parametrize("declared", [{}, {"encoding": "guess"}], ids=["nothing declared", "guess"])
def test_a_byte_order_mark_says_the_encoding(
    files: FilesResource, tmp_path: Path, mark: bytes, encoding: str, declared: dict[str, str]
) -> None:
    """A file that starts with a byte order mark is read by it, and the mark is no part of the first name."""
    put(tmp_path, "a.csv", mark + "ä,b\n1,€😀\n".encode(encoding))
    assert cells(files, **declared) == [["ä", "b"], ["1", "€😀"]]


@pytest.mark.parametrize(("mark", "encoding"), MARKED)
def test_a_declared_encoding_may_have_its_mark(files: FilesResource, tmp_path: Path, mark: bytes, encoding: str) -> None:
    """The mark of the declared encoding is no part of the first name, whichever way the encoding is written."""
    put(tmp_path, "a.csv", mark + "ä,b\n1,2\n".encode(encoding))
    for name in (encoding, encoding.upper().replace("-", "_"), encoding[:6].rstrip("-")):
        assert cells(files, encoding=name) == [["ä", "b"], ["1", "2"]]


@pytest.mark.parametrize("encoding", ["cp1252", "iso8859-15", "koi8-r", "cp437"])
def test_a_mark_of_utf8_contradicts_another_declared_encoding(files: FilesResource, tmp_path: Path, encoding: str) -> None:
    """It is refused: read as declared, the mark would become letters of the first name."""
    put(tmp_path, "a.csv", codecs.BOM_UTF8 + b"a,b\n1,2\n")
    with pytest.raises(SourceFormatError, match=f"starts with the byte order mark of utf-8, not {encoding}. Next: leave the encoding out"):
        files.read_csv("a.csv", encoding=encoding)


def test_a_mark_is_told(files: FilesResource, tmp_path: Path) -> None:
    """The notes of the read say that the mark told."""
    put(tmp_path, "a.csv", "a\n1\n".encode("utf-16"))
    _, account = accounted(lambda: files.read_csv("a.csv"))
    assert account.reads[0].notes.startswith("utf-16 (byte order mark), ")


def test_a_mark_in_the_middle_is_text(files: FilesResource, tmp_path: Path) -> None:
    """U+FEFF counts at the start of a file only."""
    put(tmp_path, "a.csv", "a,b\n1,\ufeff2\n")
    assert cells(files) == [["a", "b"], ["1", "\ufeff2"]]


# -- declared ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "é,€\nŸ,Œ\n"),
        ("cp1250", CENTRAL),
        ("cp1251", CYRILLIC),
        ("koi8-r", CYRILLIC),
        ("shift-jis", JAPANESE),
        ("euc-jp", JAPANESE),
        ("gb18030", JAPANESE),
        ("cp437", "é,ü\n░,π\n"),
        ("mac-roman", "é,†\nÿ,Ω\n"),
        ("utf-16-le", "é,b\n1,2\n"),
        ("utf-7", "é,b\n1,2\n"),
        ("U8", "é,b\n1,2\n"),
    ],
)
def test_a_declared_encoding_is_used(files: FilesResource, tmp_path: Path, encoding: str, text: str) -> None:
    """Every encoding that Python knows can be declared."""
    put(tmp_path, "a.csv", text.encode(encoding))
    assert cells(files, encoding=encoding) == expected(text)


@pytest.mark.parametrize("encoding", ["klingon", "", "a\0b", "base64", "hex", "rot13", "zlib"])
def test_an_unknown_encoding_is_an_error_of_configuration(files: FilesResource, tmp_path: Path, encoding: str) -> None:
    """So is one that is a codec of Python, but none of text."""
    put(tmp_path, "a.csv", "a\n1\n")
    with pytest.raises(ConfigurationError, match="the encoding .* is unknown. Next: name one that Python knows"):
        files.read_csv("a.csv", encoding=encoding)


# -- strict ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (WESTERN.encode("cp1252"), {}, r"not utf-8 \(byte 0xdf: .*it may be cp125[02] \(a guess\)"),
        (b"a,b\n1,\xe9\n", {}, r"not utf-8 \(byte 0xe9: .*it may be cp1252 \(a guess\)"),
        (CYRILLIC.encode("cp1251"), {}, r"not utf-8 \(byte 0xe8: .*it may be cp1251 \(a guess\)"),
        (JAPANESE.encode("shift-jis"), {}, r"not utf-8 \(byte 0x96: .*it may be cp932 \(a guess\)"),
        ("a,b\n1,é\n".encode(), {"encoding": "ascii"}, r"not ascii \(byte 0xc3: .*it may be utf-8 \(a guess\)"),
        ("a\n1\n".encode("utf-16"), {"encoding": "utf-8"}, r"not utf-8 \(byte 0xff: .*it may be utf-16 \(a guess\)"),
        ("a\n1\n".encode("utf-16-le"), {"encoding": "utf-16"}, r"not utf-16 \(.*declare its encoding, such as cp1252"),
        ("a\n1é\n".encode("utf-16")[:-1], {}, r"not utf-16 \(byte order mark\) \(byte "),
        ("a\n1é\n".encode()[:-2], {}, r"not utf-8 \(byte 0xc3: unexpected end of data"),
        (b"a\n1\x81\n", {"encoding": "cp1252"}, r"not cp1252 \(byte 0x81: "),
    ],
    ids=[
        "Western", "a few letters", "Cyrillic", "Japanese", "UTF-8 as ASCII", "UTF-16 as UTF-8", "no mark", "half a character of UTF-16",
        "half a character of UTF-8", "no letter of cp1252",
    ],
)  # fmt: skip
def test_a_byte_of_another_encoding_is_named(
    files: FilesResource, tmp_path: Path, content: bytes, options: dict[str, str], said: str
) -> None:
    """No byte is replaced or left out: the message names the first wrong one, and what the file looks like, as a guess."""
    put(tmp_path, "a.csv", content)
    with pytest.raises(SourceFormatError, match=said):
        files.read_csv("a.csv", **options)


def test_a_wrong_byte_far_down_is_found(files: FilesResource, tmp_path: Path) -> None:
    """A file that turns out to be no UTF-8 after a megabyte is refused all the same."""
    put(tmp_path, "a.csv", b"a,b\n" + b"1,2\n" * 300_000 + b"3,\xe9\n")
    with pytest.raises(SourceFormatError, match="byte 0xe9"):
        files.read_csv("a.csv")


# -- guessed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", JAPANESE), ("cp1250", CENTRAL), ("cp1251", CYRILLIC), ("koi8_r", CYRILLIC), ("cp932", JAPANESE)],
)
def test_a_guess_may_be_asked_for(files: FilesResource, tmp_path: Path, encoding: str, text: str) -> None:
    """A text with many letters beyond ASCII is told by them."""
    put(tmp_path, "a.csv", text.encode(encoding))
    assert cells(files, encoding="guess") == expected(text)


def test_western_text_arrives_whatever_the_guess_is_called(files: FilesResource, tmp_path: Path) -> None:
    """cp1252 may be taken for cp1250, which has the same letters in the same places for many a text."""
    put(tmp_path, "a.csv", WESTERN.encode("cp1252"))
    assert cells(files, encoding="guess") == expected(WESTERN)


def test_a_few_letters_are_taken_for_western(files: FilesResource, tmp_path: Path) -> None:
    """Where there is too little to tell, the guess is cp1252."""
    put(tmp_path, "a.csv", b"a,b\n1,\xe9\n")
    assert cells(files, encoding="guess") == [["a", "b"], ["1", "é"]]


@pytest.mark.parametrize("read", ["read_csv", "read_json_lines", "read_json"])
def test_a_guess_is_never_silent(files: FilesResource, tmp_path: Path, caplog: pytest.LogCaptureFixture, read: str) -> None:
    """The log and the notes of the read call the encoding a guess."""
    put(tmp_path, "a", b'[{"a": "\xe9"}]\n' if read == "read_json" else b'{"a": "\xe9"}\n')
    with caplog.at_level(logging.WARNING):
        _, account = accounted(lambda: getattr(files, read)("a", encoding="guess"))
    assert account.reads[0].notes.partition(",")[0] == "cp1252 (a guess)"
    assert caplog.messages == [f"{tmp_path / 'a'}: the encoding is cp1252 (a guess)"]


def test_a_guess_is_told_before_the_first_batch(files: FilesResource, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who takes a batch has been told that its encoding is a guess."""
    put(tmp_path, "a.csv", b"a\n\xe9\n\xe9\n\xe9\n")
    with caplog.at_level(logging.WARNING):
        next(files.read_csv_batches("a.csv", encoding="guess", rows=1))
    assert caplog.messages == [f"{tmp_path / 'a.csv'}: the encoding is cp1252 (a guess)"]


def test_nothing_is_logged_where_nothing_is_guessed(files: FilesResource, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mark and a declaration are no guesses."""
    put(tmp_path, "a.csv", "a\n1\n".encode("utf-16"))
    with caplog.at_level(logging.WARNING):
        files.read_csv("a.csv", encoding="guess")
        files.read_csv("a.csv", encoding="utf-16")
    assert caplog.messages == []


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
@pytest.mark.parametrize("letters", ["é", "€", "日本"])
def test_a_sample_that_ends_inside_a_character_misleads_nobody(files: FilesResource, tmp_path: Path, letters: str, shift: int) -> None:
    """UTF-8 is told from a sample of a large file wherever the sample ends."""
    text = "a,b\n" + "x" * (256 * 1024 - 4 - shift) + f"{letters},1\n"
    put(tmp_path, "a.csv", text)
    assert cells(files, encoding="guess")[1][0] == text[4:-3]


def test_a_guess_proved_wrong_is_an_error(files: FilesResource, tmp_path: Path) -> None:
    """What a guess from the first part of a file does not fit further down is refused, and called a guess."""
    put(tmp_path, "a.csv", b"a,b\n" + b"1,2\n" * 200_000 + b"3,\xe9\n")
    with pytest.raises(SourceFormatError, match=r"not utf-8 \(a guess\) \(byte 0xe9"):
        files.read_csv("a.csv", encoding="guess")


def test_where_no_encoding_fits_none_is_guessed(files: FilesResource, tmp_path: Path) -> None:
    """Bytes that are no text of any usual encoding are an error."""
    put(tmp_path, "a.csv", b"a\n\x81\x8d\n")
    with pytest.raises(SourceFormatError, match="no encoding fits the file. Next: declare it"):
        files.read_csv("a.csv", encoding="guess")
