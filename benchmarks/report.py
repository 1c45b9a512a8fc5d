"""What was measured, as `docs/reports/benchmarks.json`, and the page made from it.

Not here: the measurements (`bridge.py`).
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPORTS = Path(__file__).parents[1] / "docs" / "reports"


@dataclass(frozen=True)
class Row:
    """One ratio.

    Attributes:
        name: What was done.
        ours: Median of ours, in `unit`.
        peers: Medians of the others by name, in `unit`; the first one is what the ratio is to.
        unit: Such as "s CPU".
        floor: The ratio must not be on the wrong side of it.
        aim: Where it should be.
        higher: The ratio is how many times better ours is; else how much of the peer ours takes, and lower is better.
    """

    name: str
    ours: float
    peers: Mapping[str, float]
    unit: str
    floor: float
    aim: float
    higher: bool = False
    ratio: float = field(init=False)
    holds: bool = field(init=False)
    reached: bool = field(init=False)

    def __post_init__(self) -> None:
        peer = next(iter(self.peers.values()))
        ratio = peer / self.ours if self.higher else self.ours / peer
        object.__setattr__(self, "ratio", round(ratio, 4))
        object.__setattr__(self, "holds", ratio >= self.floor if self.higher else ratio <= self.floor)
        object.__setattr__(self, "reached", ratio >= self.aim if self.higher else ratio <= self.aim)


def medians(measures: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Medians of measurements that take turns, so that a busy moment of the machine meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: statistics.median(values) for name, values in found.items()}


def write(chapter: str, rows: Sequence[Row], packages: Sequence[str], folder: Path = REPORTS) -> None:
    """Put the rows of one chapter into the report, and make the page anew."""
    path = folder / "benchmarks.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    versions = {name: importlib.metadata.version(name) for name in packages}
    machine = {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count()}
    content[chapter] = {"machine": machine, "versions": versions, "rows": [dataclasses.asdict(row) for row in rows]}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    (folder / "benchmarks.md").write_text(_page(content))


def _page(content: Mapping[str, Mapping[str, object]]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Medians; ratios are of measurements that took turns in one run. Made from `benchmarks.json` by `make benchmarks`.",
        "",
    ]
    for chapter, found in sorted(content.items()):
        machine, versions, rows = found["machine"], found["versions"], found["rows"]
        assert isinstance(machine, dict)
        assert isinstance(versions, dict)
        assert isinstance(rows, list)
        lines += [f"## {chapter}", "", "| what | ratio | floor | aim | ours | others |", "|---|---|---|---|---|---|"]
        for row in rows:
            sign = ">=" if row["higher"] else "<="
            others = ", ".join(f"{name} {value:.4g}" for name, value in row["peers"].items())
            mark = "" if row["holds"] else " (missed)"
            lines.append(
                f"| {row['name']} | {row['ratio']:.3g}x{mark} | {sign} {row['floor']}x | {sign} {row['aim']}x "
                f"| {row['ours']:.4g} {row['unit']} | {others} |"
            )
        told = [f"{name} {value}" for name, value in versions.items()]
        lines += ["", f"Python {machine['python']}, {machine['cores']} cores; {', '.join(told)}.", ""]
    return "\n".join(lines)
