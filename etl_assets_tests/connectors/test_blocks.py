"""Blocks of text files: how long they are, and whose memory they are read into."""

import io

import pytest

from etl_assets.connectors.blocks import TextBlocks


def text_of(content: bytes) -> io.TextIOWrapper:
    """A file with such a content, as blocks want it."""
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)), encoding="utf-8", newline="")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("megabytes", "number"), [(0.1, 1), (0.5, 1), (1.4, 2), (3, 2), (8, 2), (9, 4), (20, 6), (24, 6), (93, 24)]
)  # fmt: skip
def test_each_thread_has_as_many_blocks(megabytes: float, number: int) -> None:
    """A number of blocks that two threads end together with, none much above 4 MB."""
    content = (b"x" * 199 + b"\n") * int(megabytes * 2**20 / 200)
    text = text_of(content)
    blocks = TextBlocks(text, 4 * 2**20, whole=len(content))
    sizes = []
    while blocks.fill():
        taken = blocks.take(len(blocks.pending) if blocks.is_last else blocks.pending.rfind(b"\n") + 1)
        sizes.append(len(taken))
    assert sum(sizes) == len(content)
    assert len(sizes) == number
    assert max(sizes) <= 4.01 * 2**20


def test_a_short_block_comes_first() -> None:
    """Those after it are as long as the others."""
    text = text_of(b"ab\n" * 100)
    blocks = TextBlocks(text, 90, first=9)
    found = []
    while blocks.fill():
        found.append(bytes(blocks.take(len(blocks.pending))))
    assert [len(block) for block in found] == [9, 90, 90, 90, 21]
    assert b"".join(found) == b"ab\n" * 100


def test_memory_is_read_into_again() -> None:
    """That of a block which is done with is the next one's; nothing of it is left in there."""
    text = text_of(b"a" * 100 + b"b" * 100 + b"c" * 50)
    blocks = TextBlocks(text, 100)
    blocks.fill()
    first = blocks.take(100)
    blocks.reuse(first)
    blocks.fill()
    second = blocks.take(100)
    assert second is first
    assert second == b"b" * 100
    blocks.reuse(second)
    blocks.fill()
    assert blocks.pending == b"c" * 50


def test_memory_that_is_looked_at_stays() -> None:
    """What holds it, a table or an error, keeps its bytes."""
    text = text_of(b"a" * 100 + b"b" * 100)
    blocks = TextBlocks(text, 100)
    blocks.fill()
    first = blocks.take(100)
    with memoryview(first) as looked_at:
        blocks.reuse(first)
        blocks.fill()
        assert bytes(looked_at) == b"a" * 100
    assert blocks.pending == b"b" * 100
    assert blocks.pending is not first
