"""The error tree: its three branches, how an error reads, and the drawing at the top of the module."""

import pickle
import re

import pytest

from etl_assets import errors
from etl_assets.errors import DataError, EtlError, PermanentError, TransientError

BRANCHES = (TransientError, PermanentError, DataError)
CLASSES = [getattr(errors, name) for name in errors.__all__]
LEAVES = [error for error in CLASSES if error not in (EtlError, *BRANCHES)]


def drawn_children(parent: str) -> set[str]:
    """Names that the docstring draws under a branch, from its line to the line of the next one."""
    lines = (errors.__doc__ or "").splitlines()
    start = next(place for place, line in enumerate(lines) if re.search(rf"[├└]── {parent}\b", line))
    children: set[str] = set()
    for line in lines[start + 1 :]:
        found = re.match(r"    (│|\s)   (?:[│ ]   )?[├└]── (\w+)", line)
        if not found:
            break
        children.add(found[2])
    return children


def test_all_names_every_class() -> None:
    """`__all__` holds the name of every error class that the module defines."""
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__}
    assert set(errors.__all__) == defined


def test_all_is_sorted() -> None:
    """`__all__` is in alphabetical order."""
    assert errors.__all__ == sorted(errors.__all__)


@pytest.mark.parametrize("error", CLASSES)
def test_every_class_is_an_etl_error(error: type[EtlError]) -> None:
    """Every public error is caught by `except EtlError`."""
    assert issubclass(error, EtlError)


@pytest.mark.parametrize("error", LEAVES)
def test_one_branch_per_class(error: type[EtlError]) -> None:
    """Every error below the branches belongs to exactly one of transient, permanent and data."""
    assert sum(issubclass(error, branch) for branch in BRANCHES) == 1


@pytest.mark.parametrize("error", CLASSES)
def test_suffix(error: type[EtlError]) -> None:
    """Every error class is called Error."""
    assert error.__name__.endswith("Error")


@pytest.mark.parametrize("error", CLASSES)
@pytest.mark.parametrize("part", ["clean/flights", "3 rows lack an id.", "correct the source."])
def test_text_holds_every_part(error: type[EtlError], part: str) -> None:
    """The text of an error says where, what happened and what to do next."""
    assert part in str(error("clean/flights", "3 rows lack an id.", "correct the source."))


def test_attributes() -> None:
    """The three parts of an error can be read one by one."""
    error = EtlError("clean/flights", "3 rows lack an id.", "correct the source.")
    assert (error.where, error.cause, error.next_step) == ("clean/flights", "3 rows lack an id.", "correct the source.")


@pytest.mark.parametrize("error", CLASSES)
def test_survives_pickling(error: type[EtlError]) -> None:
    """An error that crosses a process boundary reads as before."""
    given = error("clean/flights", "3 rows lack an id.", "correct the source.")
    assert str(pickle.loads(pickle.dumps(given))) == str(given)


@pytest.mark.parametrize("branch", BRANCHES)
def test_drawing_shows_the_classes(branch: type[EtlError]) -> None:
    """The tree in the docstring draws under each branch exactly the classes that derive from it."""
    assert drawn_children(branch.__name__) == {error.__name__ for error in LEAVES if issubclass(error, branch)}


@pytest.mark.parametrize("name", errors.__all__)
def test_drawing_names_every_class(name: str) -> None:
    """The tree in the docstring names every class of `__all__`."""
    assert re.search(rf"\b{name}\b", errors.__doc__ or "")
