"""Which steps a selection means, on the manifest of a small project; in which order those that are left run.

Not here: what options a DAG has for them (`test_options.py`).
"""

from collections.abc import Callable

import dagster as dg
import pytest

from airflow_bridge.job_manifest import Project
from airflow_bridge.manifest import VERSION, Code, Manifest, ManifestError, Step
from airflow_bridge.selection import choose, matching, order


@dg.asset(key_prefix="raw", group_name="raw", owners=["team:data"], kinds={"csv"}, tags={"tier": "1", "daily": ""})
def flights() -> None:
    return None


@dg.asset(key_prefix="raw", group_name="raw", owners=["ann@example.com"], kinds={"csv"})
def planes() -> None:
    return None


@dg.asset(key_prefix="clean", group_name="clean", deps=[flights], tags={"tier": "2"}, kinds={"sql"})
def delays() -> None:
    return None


@dg.asset_check(asset=delays)
def is_small() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.op(ins={"given": dg.In(dg.Nothing)})
def counted() -> int:
    return 1


@dg.op
def rounded(count: int) -> int:
    return count


@dg.graph_asset(
    key_prefix="mart", name="daily", group_name="mart", tags={"tier": "3"}, ins={"given": dg.AssetIn(key=["clean", "delays"])},
)  # fmt: skip
def daily(given: int) -> int:
    count: int = rounded(counted(given))
    return count


@dg.asset(key_prefix="mart", group_name="mart", deps=[dg.AssetKey(["mart", "daily"]), planes])
def yearly() -> None:
    return None


def _manifest() -> Manifest:
    assets = [flights, planes, delays, daily, yearly]
    definitions = dg.Definitions(assets=assets, asset_checks=[is_small], jobs=[dg.define_asset_job("flights")])
    return Project(definitions, Code(module="m", attribute="defs", location="m")).manifest("flights")


MANIFEST = _manifest()
RAW = {"raw__flights", "raw__planes"}
DELAYS = {"clean__delays", "clean__delays_is_small"}
DAILY = {"mart__daily.counted", "mart__daily.rounded"}
YEARLY = {"mart__yearly"}
ALL = RAW | DELAYS | DAILY | YEARLY


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("raw/flights", {"raw__flights"}),
        ("clean/delays", DELAYS),
        ("mart/daily", DAILY),
        ("mart__daily", DAILY),
        ("raw/*", RAW),
        ("*/*ly", DAILY | YEARLY),
        ("raw/???nes", {"raw__planes"}),
        ("*", ALL),
        ("group:raw", RAW),
        ("group:mart", DAILY | YEARLY),
        ("group:?a*", RAW | DAILY | YEARLY),
        ("tag:tier", {"raw__flights", "clean__delays"} | DAILY),
        ("tag:tier=2", {"clean__delays"}),
        ("tag:tier=?", {"raw__flights", "clean__delays"} | DAILY),
        ("tag:daily", {"raw__flights"}),
        ("kind:csv", RAW),
        ("owner:team:data", {"raw__flights"}),
        ("owner:*@example.com", {"raw__planes"}),
        ("step:clean__delays", {"clean__delays"}),
        ("step:mart__daily.*", DAILY),
        ("step:mart__daily.counted", {"mart__daily.counted"}),
    ],
)
def test_what_a_name_means(expression: str, steps: set[str]) -> None:
    """Assets are meant with their checks and with all steps of a graph asset; only step: means a step alone."""
    assert matching(MANIFEST, expression) == steps


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("+clean/delays", {"raw__flights"} | DELAYS),
        ("+mart/yearly", ALL - {"clean__delays_is_small"}),
        ("1+mart/yearly", {"raw__planes"} | DAILY | YEARLY),
        ("2+mart/yearly", {"raw__planes", "clean__delays"} | DAILY | YEARLY),
        ("0+mart/yearly", YEARLY),
        ("9+raw/flights", {"raw__flights"}),
        ("raw/flights+", ALL - {"raw__planes"}),
        ("raw/flights+1", {"raw__flights", "clean__delays"}),
        ("raw/flights+2", {"raw__flights"} | DELAYS | DAILY),
        ("1+mart/daily+1", {"clean__delays"} | DAILY | YEARLY),
        ("+clean/delays+", ALL - {"raw__planes"}),
        ("+group:clean", {"raw__flights"} | DELAYS),
        ("+step:mart__daily.rounded", {"raw__flights", "clean__delays"} | DAILY),
        ("1+step:mart__daily.rounded", DAILY),
    ],
)
def test_what_an_asset_needs_and_what_needs_it(expression: str, steps: set[str]) -> None:
    """A plus before means what is needed, one behind what needs it, with a number as many levels; a graph asset is one level."""
    assert matching(MANIFEST, expression) == steps


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("raw/flights mart/yearly", {"raw__flights"} | YEARLY),
        (["raw/flights", "mart/yearly"], {"raw__flights"} | YEARLY),
        (("raw/flights mart/yearly", "raw/planes"), RAW | YEARLY),
        ("group:raw,tag:tier", {"raw__flights"}),
        ("+mart/yearly,group:raw", RAW),
        ("+mart/yearly,group:raw,owner:team:data mart/yearly", {"raw__flights"} | YEARLY),
    ],
)
def test_several_selections(expression: str | list[str] | tuple[str, ...], steps: set[str]) -> None:
    """Of several each counts, of those with a comma only what they have in common."""
    assert matching(MANIFEST, expression) == steps


@pytest.mark.parametrize(
    ("select", "exclude", "steps"),
    [
        ((), (), ALL),
        ("", "", ALL),
        ("group:mart", (), DAILY | YEARLY),
        ((), "group:mart", RAW | DELAYS),
        ("+mart/yearly", "raw/* clean/*", DAILY | YEARLY),
        (["+mart/daily"], ["raw/flights"], {"clean__delays"} | DAILY),
    ],
)
def test_what_is_left(select: str | list[str] | tuple[str, ...], exclude: str | list[str] | tuple[str, ...], steps: set[str]) -> None:
    """What is excluded is taken from what is selected, or from all; what is left stands in the order of the manifest."""
    chosen = choose(MANIFEST, select, exclude)
    assert {step.key for step in chosen} == steps
    assert list(chosen) == [step for step in MANIFEST.steps if step in chosen]


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("mart/dialy", "job flights: 'mart/dialy' selects nothing; close: mart/daily, "),
        ("nothing/like/it", "job flights: 'nothing/like/it' selects nothing. Next: correct the selection."),
        ("raw/flights mart/dialy", "'mart/dialy' selects nothing"),
        ("raw/flights,mart/dialy", "'mart/dialy' selects nothing"),
        ("+mart/dialy+2", "'+mart/dialy+2' selects nothing; close: mart/daily, "),
        ("mart/D*", "'mart/D*' selects nothing"),
        ("group:marts", "'group:marts' selects nothing; its groups are clean, mart, raw. Next:"),
        ("kind:csvs", "; its kinds are csv, sql. Next:"),
        ("owner:bob", "; its owners are ann@example.com, team:data. Next:"),
        ("tag:tier=4", "; its tags are daily, daily=, tier, tier=1, tier=2, tier=3. Next:"),
        ("step:yearly", "; its steps are clean__delays, clean__delays_is_small, mart__daily.counted, "),
        ("grup:mart", "'grup:mart' selects nothing; before the colon may stand group, tag, kind, owner, step. Next:"),
        ("++mart/daily", "'++mart/daily' is no selection. Next: write it as +asset, asset+, group:name, tag:name=value."),
        ("mart/daily+x", "'mart/daily+x' is no selection"),
        ("+", "'+' is no selection"),
        ("mart/daily,", "'' is no selection"),
        (" ", "the selection is empty. Next: name assets, such as mart/daily or group:mart."),
        ([""], "the selection is empty"),
    ],
)
@pytest.mark.parametrize(
    "ask", [lambda given: choose(MANIFEST, given), lambda given: choose(MANIFEST, (), given)], ids=["select", "exclude"]
)
def test_a_selection_that_means_nothing(ask: Callable[[str | list[str]], object], select: str | list[str], said: str) -> None:
    """A selection that finds nothing, or is none, is an error that names it, what there is, and the next step."""
    with pytest.raises(ManifestError) as caught:
        ask(select)
    assert said in str(caught.value)
    assert str(caught.value).startswith("job flights: ")
    assert " Next: " in str(caught.value)


def test_a_name_that_no_step_has() -> None:
    """Where no step of the job has what is asked for, the error says so."""
    manifest = Manifest(version=VERSION, job="bare", code=MANIFEST.code, steps=(Step(key="a", node="a", assets=("a",)),))
    with pytest.raises(ManifestError, match="'owner:bob' selects nothing; its steps have no owner. Next:"):
        choose(manifest, "owner:bob")


def test_ops_go_by_their_names() -> None:
    """In a job of ops and graphs a selection names these, and there is no group."""
    steps = (Step(key="load", node="load"), Step(key="tidy.first", node="tidy"), Step(key="tidy.then", node="tidy"))
    manifest = Manifest(version=VERSION, job="ops", code=MANIFEST.code, steps=steps)
    assert matching(manifest, "load") == {"load"}
    assert matching(manifest, "tidy") == {"tidy.first", "tidy.then"}
    with pytest.raises(ManifestError, match=r"'group:\*' selects nothing; its steps have no group\."):
        matching(manifest, "group:*")


def test_nothing_is_left() -> None:
    """A DAG without steps is an error that names both selections."""
    with pytest.raises(ManifestError) as caught:
        choose(MANIFEST, "raw/*", ["group:raw"])
    assert str(caught.value) == "job flights: no step is left of select='raw/*', exclude=['group:raw']. Next: correct them."


def chain(**upstream: str) -> Manifest:
    """A job with these steps, each with the steps it waits for."""
    steps = tuple(Step(key=key, node=key, assets=(key,), upstream=tuple(of.split())) for key, of in upstream.items())
    return Manifest(version=VERSION, job="chain", code=MANIFEST.code, steps=steps)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("a b c d e", {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b", "c"}, "e": {"d"}}),
        ("a c d e", {"a": set(), "c": {"a"}, "d": {"a", "c"}, "e": {"d"}}),
        ("a d e", {"a": set(), "d": {"a"}, "e": {"d"}}),
        ("a e", {"a": set(), "e": {"a"}}),
        ("b c e", {"b": set(), "c": set(), "e": {"b", "c"}}),
        ("b c", {"b": set(), "c": set()}),
        ("e", {"e": set()}),
    ],
)
def test_order_goes_through_what_is_left_out(chosen: str, expected: dict[str, set[str]]) -> None:
    """A step waits for the nearest chosen ones before it: a -> b, c -> d -> e, whichever of them are left out."""
    assert order(chain(a="", b="a", c="a", d="b c", e="d"), chosen.split()) == expected


def test_order_of_the_project() -> None:
    """A mart waits for the raw table when what lies between them is left out."""
    chosen = {step.key for step in choose(MANIFEST, exclude="clean/* mart/daily")}
    assert order(MANIFEST, chosen) == {"raw__flights": set(), "raw__planes": set(), "mart__yearly": {"raw__flights", "raw__planes"}}
