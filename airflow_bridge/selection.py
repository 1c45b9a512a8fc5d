"""Which steps of a manifest are meant: the selection language. Standard library only.

    clean/flights      the steps that make or check this asset; * and ? stand for any characters
    group:mart         of an asset group; also tag:name, tag:name=value, kind:sql, owner:team:data, step:key
    +mart/daily        an asset with all that it needs; mart/daily+ with all that needs it; 2+mart/daily with two levels
    a b                either; the items of a list too
    a,group:mart       both

Not here: what becomes of the steps (`dags.py`).
"""

import difflib
import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from airflow_bridge.manifest import Manifest, ManifestError, Step

_TERM = re.compile(r"(?P<up>(?P<up_levels>\d*)\+)?(?P<what>[^+]+)(?P<down>\+(?P<down_levels>\d*))?")
_NAMES = ("group", "tag", "kind", "owner", "step")


def choose(manifest: Manifest, select: str | Sequence[str] = (), exclude: str | Sequence[str] = ()) -> tuple[Step, ...]:
    """The steps that are selected and not excluded, in the order of the manifest; all of them when nothing is selected.

    Raises:
        ManifestError: A selection is malformed, or finds nothing.
    """
    chosen = matching(manifest, select) if select else {step.key for step in manifest.steps}
    left = chosen - (matching(manifest, exclude) if exclude else set())
    if not left:
        raise ManifestError(f"job {manifest.job}: no step is left of select={select!r}, exclude={exclude!r}. Next: correct them.")
    return tuple(step for step in manifest.steps if step.key in left)


def matching(manifest: Manifest, expression: str | Sequence[str]) -> set[str]:
    """Keys of the steps that an expression means.

    Raises:
        ManifestError: It is malformed, or finds nothing.
    """
    expressions = [expression] if isinstance(expression, str) else list(expression)
    terms = [term for one in expressions for term in one.split()]
    if not terms:
        raise ManifestError(f"job {manifest.job}: the selection is empty. Next: name assets, such as mart/daily or group:mart.")
    return set().union(*(set.intersection(*(_term(manifest, part) for part in term.split(","))) for term in terms))


def order(manifest: Manifest, chosen: Collection[str]) -> dict[str, set[str]]:
    """What each chosen step waits for among the chosen ones; what lies between them and is left out passes the order on."""
    nearest: dict[str, set[str]] = {}
    for step in manifest.steps:
        found: set[str] = set()
        for upstream in step.upstream:
            found |= {upstream} if upstream in chosen else nearest[upstream]
        nearest[step.key] = found
    return {key: nearest[key] for key in nearest if key in chosen}


def _term(manifest: Manifest, text: str) -> set[str]:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ManifestError(f"job {manifest.job}: {text!r} is no selection. Next: write it as +asset, asset+, group:name, tag:name=value.")
    found = _named(manifest, match["what"])
    if not found:
        raise ManifestError(f"job {manifest.job}: {text!r} selects nothing{_hint(manifest, match['what'])} Next: correct the selection.")
    # Steps of one graph asset go together: alone they have nothing to read, or make nothing.
    unit = {step.key: step.key if match["what"].startswith("step:") else step.node for step in manifest.steps}
    start = {unit[key] for key in found}
    upstream: dict[str, set[str]] = {one: set() for one in unit.values()}
    downstream: dict[str, set[str]] = {one: set() for one in unit.values()}
    for step in manifest.steps:
        for key in step.upstream:
            upstream[unit[step.key]].add(unit[key])
            downstream[unit[key]].add(unit[step.key])
    result = set(start)
    if match["up"]:
        result |= _reach(upstream, start, match["up_levels"])
    if match["down"]:
        result |= _reach(downstream, start, match["down_levels"])
    return {key for key, one in unit.items() if one in result}


def _named(manifest: Manifest, what: str) -> set[str]:
    name, _, value = what.partition(":")
    if value and name in _NAMES:
        return {step.key for step in manifest.steps if any(fnmatch.fnmatchcase(one, value) for one in _values(step, name))}
    return {step.key for step in manifest.steps if any(fnmatch.fnmatchcase(one, what) for one in _assets(step))}


def _assets(step: Step) -> set[str]:
    """Keys of the assets that a step makes or checks; for a step inside a graph asset, the graph's name and its own."""
    return {*step.assets, *(check.asset for check in step.checks)} or {step.node, step.key}


def _values(step: Step, name: str) -> Iterable[str]:
    if name == "group":
        return [step.group] if step.group is not None else []
    if name == "tag":
        return [*step.tags, *(f"{key}={value}" for key, value in step.tags.items())]
    if name == "step":
        return [step.key]
    return step.kinds if name == "kind" else step.owners


def _reach(edges: Mapping[str, Iterable[str]], start: Iterable[str], levels: str) -> set[str]:
    seen = set(start)
    front = set(start)
    left = int(levels) if levels else None
    while front and left != 0:
        front = {to for key in front for to in edges.get(key, ())} - seen
        seen |= front
        left = left - 1 if left is not None else None
    return seen


def _hint(manifest: Manifest, what: str) -> str:
    name, _, value = what.partition(":")
    if value and name in _NAMES:
        known = sorted({one for step in manifest.steps for one in _values(step, name)})
        return f"; its {name}s are {', '.join(known)}." if known else f"; its steps have no {name}."
    if value:
        return f"; before the colon may stand {', '.join(_NAMES)}."
    known = sorted({one for step in manifest.steps for one in _assets(step)})
    close = difflib.get_close_matches(what, known, n=3)
    return f"; close: {', '.join(close)}." if close else "."


__all__ = ["choose", "matching", "order"]
