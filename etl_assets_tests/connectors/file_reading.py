"""What the tests of files share: putting files into a folder, and looking at what was read."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from etl_assets.accounting import SOURCE_POSITION, Account, open_account


def put(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file, text as UTF-8 with its line ends as they are, and make the folders it lies in."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(frame: pd.DataFrame) -> list[list[str | None]]:
    """The data cells, with None for NULL."""
    data = frame.drop(columns=SOURCE_POSITION)
    return [[None if pd.isna(value) else value for value in row] for row in data.itertuples(index=False, name=None)]


def positions_of(frame: pd.DataFrame) -> list[str]:
    """Where the rows stood."""
    return frame[SOURCE_POSITION].tolist()


def accounted(read: Callable[[], pd.DataFrame]) -> tuple[pd.DataFrame, Account]:
    """What a call returns and what it reports."""
    with open_account() as account:
        frame = read()
    return frame, account


def unreadable_of(account: Account) -> list[tuple[str, str, str]]:
    """Position, text and rule of each row that could not be read."""
    return [(row.position, row.raw, row.rule) for row in account.unreadable]
