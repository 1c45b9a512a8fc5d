"""A guard with wide ratios, so that a load which has become slow shows; the real figures are those of `make bench`."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from benchmarks import data, load, peers
from benchmarks.place import Place, opened

ROWS, FEW = 100_000, 25_000


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A server of its own, with a table and the file that psql reads."""
    with opened() as found:
        found.run(data.orders_table("given"))
        peers.pgpq(found, data.orders(ROWS), "given", data.orders_schema(), jsonb=("payload",))
        peers.psql(found, f"\\copy given to '{found.folder}/orders.bin' (format binary)")
        yield found


def ours(place: Place, rows: int) -> Callable[[], object]:
    """The project's own load, with ledger and count."""
    return functools.partial(load.ours, place, data.orders(rows), types=tuple(data.ORDERS.values()))


def best_of(turns: int, place: Place, methods: Mapping[str, Callable[[], Callable[[], object]]]) -> dict[str, float]:
    """Shortest seconds of each method; they take turns, each into an empty table."""
    found = dict.fromkeys(methods, float("inf"))
    for _ in range(turns):
        for name, prepare in methods.items():
            body = prepare()
            place.run("TRUNCATE given", "CHECKPOINT")
            started = time.perf_counter()
            body()
            found[name] = min(found[name], time.perf_counter() - started)
    return found


def test_a_load_is_near_psql(place: Place) -> None:
    """At least 0.6 times as fast as `psql \\copy` of a ready binary file."""
    copied = f"\\copy given from '{place.folder}/orders.bin' (format binary)"
    ours(place, 64)()
    found = best_of(4, place, {"ours": lambda: ours(place, ROWS), "psql": lambda: functools.partial(peers.psql, place, copied)})
    assert found["psql"] / found["ours"] >= 0.6, found


def test_a_load_is_far_from_to_sql(place: Place) -> None:
    """At least ten times as fast as `DataFrame.to_sql`."""
    frame = data.orders(FEW)
    found = best_of(2, place, {"ours": lambda: ours(place, FEW), "to_sql": lambda: functools.partial(peers.to_sql, place, frame, "given")})
    assert found["to_sql"] / found["ours"] >= 10, found
