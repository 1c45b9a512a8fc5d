"""A file store for fsspec that fails as a test tells it to, under its own protocol `faulty://`.

Not here: the tests (`test_files_stores.py`).
"""

import io
from dataclasses import dataclass, field
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem


@dataclass
class Store:
    """What the store holds and how it fails.

    Attributes:
        files: Content by address without protocol, such as "bucket/a.csv".
        listing_faults: Raised by the next listings, one each.
        opening_faults: Raised by the next openings, one each.
        reading_faults: Raised by the next files that were opened, after their first bytes.
        cut_bytes: Bytes missing at the end of the next files that are opened, one number each.
        elsewhere: Names that listings hold beside those of the files, such as links to other places.
        listed: How often a folder was listed.
        opened: Addresses of the files opened, in order.
        options: What the store was connected with.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    listing_faults: list[Exception] = field(default_factory=list)
    opening_faults: list[Exception] = field(default_factory=list)
    reading_faults: list[Exception] = field(default_factory=list)
    cut_bytes: list[int] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    listed: int = 0
    opened: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


store = Store()
"""What `faulty://` shows; a fixture makes it empty again."""


class FaultyFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Serves `store`."""

    protocol = "faulty"
    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__()
        store.options = options

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path)).rpartition("@")[2].partition("?")[0]

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Files and folders in a folder."""
        store.listed += 1
        if store.listing_faults:
            raise store.listing_faults.pop(0)
        folder = self._strip_protocol(path)
        inside = [name for name in store.files if name.startswith(f"{folder}/")]
        if not inside:
            raise FileNotFoundError(path)
        found: dict[str, dict[str, Any]] = {name: {"name": name, "type": "file", "size": 1} for name in store.elsewhere}
        for name in inside:
            head, slash, _rest = name[len(folder) + 1 :].partition("/")
            place = f"{folder}/{head}"
            found[place] = {"name": place, "size": len(store.files[name]), "type": "directory" if slash else "file"}
        return list(found.values()) if detail else list(found)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if store.opening_faults:
            raise store.opening_faults.pop(0)
        store.opened.append(path)
        if path not in store.files:
            raise FileNotFoundError(path)
        return _Stream(store.files[path])


class _Stream(io.BytesIO):
    def __init__(self, content: bytes) -> None:
        super().__init__(content[: len(content) - store.cut_bytes.pop(0)] if store.cut_bytes else content)
        self.size = len(content)
        self._fault = store.reading_faults.pop(0) if store.reading_faults else None

    def read(self, size: int | None = -1, /) -> bytes:
        if self._fault is None:
            return super().read(size)
        if self.tell():
            raise self._fault
        return super().read(3)


fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)

__all__ = ["Store", "store"]
