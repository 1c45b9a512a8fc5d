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

from benchmarks.harness import Measure

REPORTS = Path(__file__).parents[1] / "docs" / "reports"


@dataclass(frozen=True)
class Row:
    """One ratio, or one value where there is nobody to compare with.

    Attributes:
        name: What was done.
        ours: Median of ours, in `unit`.
        peers: Medians of the others by name, in `unit`; the first one is what the ratio is to. Empty: the ratio is the value itself.
        unit: Such as "s CPU".
        floor: The ratio must not be on the wrong side of it; None where none was set.
        aim: Where it should be; None where none was set.
        higher: The ratio is how many times better ours is; else how much of the peer ours takes, and lower is better.
        cpu: CPU seconds of client and server, ours and the others' by name.
    """

    name: str
    ours: float
    peers: Mapping[str, float]
    unit: str
    floor: float | None
    aim: float | None
    higher: bool = False
    cpu: Mapping[str, float] = field(default_factory=dict)
    ratio: float = field(init=False)
    holds: bool = field(init=False)
    reached: bool = field(init=False)

    def __post_init__(self) -> None:
        peer = next(iter(self.peers.values()), None)
        ratio = self.ours if peer is None else peer / self.ours if self.higher else self.ours / peer

        def beyond(limit: float | None) -> bool:
            return limit is None or (ratio >= limit if self.higher else ratio <= limit)

        object.__setattr__(self, "ratio", round(ratio, 4))
        object.__setattr__(self, "holds", beyond(self.floor))
        object.__setattr__(self, "reached", beyond(self.aim))


def times(name: str, found: Mapping[str, Measure], ours: str, peers: Sequence[str], *, floor: float | None, aim: float | None) -> Row:
    """How many times as fast ours is as the first of the peers, by the clock.

    Args:
        name: What was done.
        found: Medians by method.
        ours: Method of ours.
        peers: Methods of the others.
        floor: See `Row`.
        aim: See `Row`.
    """
    others = {peer: found[peer].seconds for peer in peers}
    cpu = {method: round(found[method].cpu, 3) for method in [ours, *peers]}
    return Row(name, found[ours].seconds, others, "s", floor, aim, higher=True, cpu=cpu)


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
