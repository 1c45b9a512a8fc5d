"""One measurement is one new process; the methods take turns, so that a busy moment of the machine meets all of them.

A method prepares untimed (imports, a few rows to warm up, an empty table) and gives the body that is timed. Methods of others run in
the interpreter of `.venv/peers` where they need packages that this project does not have.

Not here: what is measured (the chapters), where the data lies (`place.py`), the page (`report.py`).
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.place import Place

ROOT = Path(__file__).parents[1]
PEERS = Path(sys.prefix) / "peers" / "bin" / "python"

Body: TypeAlias = Callable[[], Any]
Method: TypeAlias = Callable[[Place], Body]
"""Prepares, and gives what is timed; what that returns tells whether it did its work: a number of rows, say."""


@dataclass(frozen=True)
class Measure:
    """One run of one method.

    Attributes:
        seconds: By the clock.
        client_cpu: CPU seconds of the process and its children.
        server_cpu: CPU seconds of PostgreSQL meanwhile.
        peak_mib: Largest memory over that at the start, in MiB.
        value: What the body returned.
    """

    seconds: float
    client_cpu: float
    server_cpu: float
    peak_mib: float
    value: Any

    @property
    def cpu(self) -> float:
        """CPU seconds of both sides."""
        return self.client_cpu + self.server_cpu


def run_method(body: Body, place: Place) -> Measure:
    """Time one body in this process."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    base = _memory("VmRSS")
    server, client, started = place.server_cpu(), os.times(), time.perf_counter()
    value = body()
    seconds, ended = time.perf_counter() - started, os.times()
    time.sleep(0.2)  # PostgreSQL counts a backend's time when it ends
    return Measure(
        seconds=seconds,
        client_cpu=sum(ended[:4]) - sum(client[:4]),
        server_cpu=place.server_cpu() - server,
        peak_mib=_memory("VmHWM") - base,
        value=value,
    )


def take_turns(
    chapter: str, methods: Sequence[str], place: Place, *, rounds: int, peers: Iterable[str] = (), brief: Sequence[str] = ()
) -> dict[str, Measure]:
    """Medians of each method of a chapter over some rounds, printed as they come.

    Args:
        chapter: Module of this package whose METHODS has them.
        methods: Their names.
        place: Server and data.
        rounds: How often each runs.
        peers: Those that run in the interpreter of the peers.
        brief: Those that are over soon, and in which a busy moment of the machine shows most: they run three times in each round.

    Raises:
        RuntimeError: A method failed; the message ends with what it printed.
    """
    found: dict[str, list[Measure]] = {name: [] for name in methods}
    others = set(peers)
    for turn in range(rounds):
        for name in [*methods, *brief, *brief]:
            measure = _in_new_process(chapter, name, place, str(PEERS) if name in others else sys.executable)
            found[name].append(measure)
            print(
                f"{chapter} {turn + 1}/{rounds} {name}: {measure.seconds:.2f} s, {measure.client_cpu:.2f} + {measure.server_cpu:.2f} s CPU,"
                f" {measure.peak_mib:.0f} MiB, {measure.value}",
                flush=True,
            )
    return {name: _median(measures) for name, measures in found.items()}


def _in_new_process(chapter: str, name: str, place: Place, interpreter: str) -> Measure:
    done = subprocess.run(
        [interpreter, "-m", "benchmarks.worker", chapter, name, str(place.folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{chapter}, {name} failed:\n{done.stderr[-2000:]}")
    return Measure(**json.loads(done.stdout.splitlines()[-1]))


def _median(measures: Sequence[Measure]) -> Measure:
    numbers: Mapping[str, list[float]] = {
        name: [getattr(measure, name) for measure in measures] for name in ("seconds", "client_cpu", "server_cpu", "peak_mib")
    }
    values = {json.dumps(measure.value) for measure in measures}
    if len(values) > 1:
        raise RuntimeError(f"one method gave several results: {sorted(values)}")
    return Measure(**{name: statistics.median(list_) for name, list_ in numbers.items()}, value=measures[0].value)


def _memory(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def printed(measure: Measure) -> str:
    """The measure as a worker hands it over."""
    return json.dumps(asdict(measure))
