"""Many faults after each other, drawn by a seed, and the report: what was lost, what was there twice, what was seen half.

Not here: single faults (`kinds.py`, `mistakes.py`).
"""

import importlib.metadata
import os
import platform
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from etl_assets_tests.faults.deliveries import TABLES, Table
from etl_assets_tests.faults.kinds import (
    CONNECTIONS,
    cut_connection,
    disk_full,
    kill_loader_while_it_copies,
    kill_server,
    terminate_backend,
)
from etl_assets_tests.faults.mistakes import MISTAKES
from etl_assets_tests.faults.process import Loader
from etl_assets_tests.faults.stage import NotHealedError, Stage
from etl_assets_tests.faults.warehouse import Warehouse, warehouse
from etl_assets_tests.faults.watching import Watch
from etl_assets_tests.tcp_proxy import proxy_to

Kind = Callable[[Stage], bool]
# A small disk can be mounted by root only.
KINDS: tuple[Kind, ...] = tuple(kind for kind in (*CONNECTIONS, *MISTAKES) if os.geteuid() == 0 or kind is not disk_full)
# What a loader without a ledger cannot survive, and can be asked to.
_NAIVE_KINDS: tuple[Kind, ...] = (kill_loader_while_it_copies, cut_connection, terminate_backend, kill_server)
# Each takes seconds, most of it waiting.
_PACKAGES = ("psycopg2-binary", "SQLAlchemy", "pandas", "pyarrow", "pgpq", "dagster")
_RARE = ("disk_full", "run_killed_before_its_event", "too_many_connections")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run of faults came to.

    Attributes:
        injected: Faults made.
        landed: Faults that hit what they were aimed at.
        kinds: Faults by kind.
        missed: Faults that did not land, by kind.
        rows: Rows delivered.
        lost: Rows that are not in their tables.
        duplicated: Rows that are there twice.
        checksums_equal: Whether every table holds the values that were delivered.
        looks: How often readers looked.
        half_visible: How often they found half a load, or two mixed.
        healed_seconds_max: Longest time from a fault until its delivery was in its table.
        not_healed: Deliveries that did not get in.
        ledger_wrong: Deliveries that are not in the ledger exactly once.
        seed: Of the drawing.
        loader: Which loader was tried.
        versions: Of Python, PostgreSQL and packages.
    """

    injected: int
    landed: int
    kinds: dict[str, int]
    missed: dict[str, int]
    rows: int
    lost: int
    duplicated: int
    checksums_equal: bool
    looks: int
    half_visible: int
    healed_seconds_max: float
    not_healed: int
    ledger_wrong: int
    seed: int
    loader: Loader
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, doubled, seen half or left open, and nearly all faults landed."""
        wrong = self.lost or self.duplicated or self.half_visible or self.not_healed or self.ledger_wrong
        return not wrong and self.checksums_equal and self.landed >= 0.99 * self.injected

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def run_faults(
    *,
    faults: int,
    seed: int,
    rows: int = 10_000,
    loader: Loader = "etl_assets",
    kinds: Sequence[Kind] = KINDS,
    tables: tuple[Table, ...] = TABLES,
    binaries: Path | None = None,
    out: TextIO | None = None,
) -> Report:
    """Make faults, each kind at least once when there are enough, and compare the tables with what was delivered.

    Args:
        faults: How many.
        seed: Two runs with one seed draw the same faults.
        rows: Of each delivery.
        loader: The project's, or the naive one.
        kinds: Which faults.
        tables: Which tables are loaded.
        binaries: Another PostgreSQL than the embedded one.
        out: Where progress is written.
    """
    drawn = _draw(kinds, faults, seed)
    with warehouse(binaries) as place, proxy_to(place.port) as proxy:
        stage = Stage(place, proxy, seed=seed, rows=rows, loader=loader, tables=tables)
        made: Counter[str] = Counter()
        missed: Counter[str] = Counter()
        not_healed = 0
        with Watch(place, rows) as watch:
            for number, kind in enumerate(drawn, start=1):
                began = time.monotonic()
                made[kind.__name__] += 1
                try:
                    landed = kind(stage)
                except NotHealedError as error:
                    not_healed, landed = not_healed + 1, True
                    if out is not None:
                        print(f"NOT HEALED: {error}", file=out)
                missed[kind.__name__] += not landed
                if out is not None:
                    print(
                        f"{number:>4} {kind.__name__:<32} {'' if landed else 'MISSED':<7}{time.monotonic() - began:6.2f} s",
                        file=out,
                        flush=True,
                    )
        return _report(stage, watch, made, +missed, not_healed, seed, place)


def run_naive(*, faults: int, seed: int, rows: int = 2_000) -> Report:
    """The same over a loader that appends without a ledger: the suite must find what it loses or doubles."""
    return run_faults(faults=faults, seed=seed, rows=rows, loader="naive", kinds=_NAIVE_KINDS, tables=("appended",))


def _draw(kinds: Sequence[Kind], faults: int, seed: int) -> list[Kind]:
    """Every kind in turn, the slow ones a fifth as often, in random order."""
    chance = random.Random(seed)
    often = [kind for kind in kinds if kind.__name__ not in _RARE]
    drawn = list(kinds)[:faults]
    while len(drawn) < faults:
        drawn.append(chance.choice(kinds) if chance.random() < 0.1 else chance.choice(often or list(kinds)))
    chance.shuffle(drawn)
    return drawn


def _report(stage: Stage, watch: Watch, made: Counter[str], missed: Counter[str], not_healed: int, seed: int, place: Warehouse) -> Report:
    lost = duplicated = 0
    equal = True
    for table in stage.tables:
        wanted, found = stage.expected.sums(table), place.sums(table)
        lost += max(0, wanted.keys - found.keys)
        duplicated += found.rows - found.keys
        equal &= wanted == found
    wrong = 0
    if stage.loader == "etl_assets":
        times = dict(place.execute("SELECT load_id::text, count(*) FROM etl.loads WHERE status = 'succeeded' GROUP BY load_id"))
        wrong = sum(times.get(str(load_id), 0) != 1 for load_id in stage.expected.delivered)
    return Report(
        injected=sum(made.values()),
        landed=sum(made.values()) - sum(missed.values()),
        kinds=dict(sorted(made.items())),
        missed=dict(sorted(missed.items())),
        rows=len(stage.expected.delivered) * stage.rows,
        lost=lost,
        duplicated=duplicated,
        checksums_equal=equal,
        looks=watch.looks,
        half_visible=watch.half_visible,
        healed_seconds_max=round(max(stage.healed_seconds, default=0.0), 2),
        not_healed=not_healed,
        ledger_wrong=wrong,
        seed=seed,
        loader=stage.loader,
        versions={
            "python": platform.python_version(),
            "postgresql": place.version,
            **{
                name: importlib.metadata.version(name) for name in ("psycopg2-binary", "SQLAlchemy", "pandas", "pyarrow", "pgpq", "dagster")
            },
        },
    )


__all__ = ["KINDS", "Report", "run_faults", "run_naive"]
