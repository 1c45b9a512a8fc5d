"""What was measured, as `docs/reports/benchmarks.json`, and the page made from it.

Not here: the measurements (the chapters), what they mean (`docs/performance.md`).
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import PEERS, Measure

_GIVEN = ("name", "ours", "peers", "unit", "floor", "aim", "higher", "cpu")
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

    @property
    def shown(self) -> str:
        """The ratio for people; the value with its unit where there is nobody to compare with."""
        return f"{self.ratio:.3g}x" if self.peers else f"{self.ratio:.3g} {self.unit}"

    def limit(self, value: float | None) -> str:
        """A floor or an aim for people; "" for none."""
        if value is None:
            return ""
        return f"{'>=' if self.higher else '<='} {value:.3g}{'x' if self.peers else ''}"


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


def write(
    chapter: str, rows: Sequence[Row], packages: Sequence[str], peers: Sequence[str] = (), folder: Path = REPORTS
) -> Mapping[str, str]:
    """Put the rows of one chapter into the report, and make the page anew; the versions that were measured.

    Args:
        chapter: Its name.
        rows: What was measured.
        packages: Packages of ours whose versions count.
        peers: Packages of `.venv/peers` whose versions count.
        folder: Of the report.
    """
    path = folder / "benchmarks.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    versions = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
    versions |= {f"{name} (peer)": version for name, version in _versions_of_peers(peers).items()}
    machine = {"cores": os.cpu_count(), "system": platform.system(), "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    content[chapter] = {"machine": machine, "rows": [{**dataclasses.asdict(row), "versions": versions} for row in rows]}
    folder.mkdir(parents=True, exist_ok=True)
    # Names are not sorted: the first of the peers is what the ratio is to.
    path.write_text(json.dumps(dict(sorted(content.items())), indent=1) + "\n")
    (folder / "benchmarks.md").write_text(_page(content))
    return versions


def _versions_of_peers(packages: Sequence[str]) -> dict[str, str]:
    if not packages:
        return {}
    code = f"import importlib.metadata as m, json; print(json.dumps({{name: m.version(name) for name in {list(packages)!r}}}))"
    done = subprocess.run([str(PEERS), "-c", code], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def _page(content: Mapping[str, Any]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Medians; ratios are of measurements that took turns in one run, each in a new process. `make bench` makes this page from",
        "`benchmarks.json`; what was found on the way is in [performance.md](../performance.md).",
        "",
    ]
    for chapter, found in sorted(content.items()):
        lines += [f"## {chapter}", "", "| what | ratio | floor | aim | ours | others |", "|---|---|---|---|---|---|"]
        for told in found["rows"]:
            row = Row(**{name: told[name] for name in _GIVEN})
            others = ", ".join(f"{name} {value:.4g}" for name, value in row.peers.items())
            mark = " (missed)" if not row.holds else ""
            lines.append(
                f"| {row.name} | {row.shown}{mark} | {row.limit(row.floor)} | {row.limit(row.aim)} | {row.ours:.4g} {row.unit} | {others} |"
            )
        versions = ", ".join(f"{name} {value}" for name, value in (found["rows"][0]["versions"] if found["rows"] else {}).items())
        machine = found["machine"]
        lines += ["", f"{machine['date']}, {machine['system']}, {machine['cores']} cores; {versions}.", ""]
    return "\n".join(lines)
