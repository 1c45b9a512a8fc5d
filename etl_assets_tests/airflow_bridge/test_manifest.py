"""The hand-over file: strict to read, stable to write."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_bridge.manifest import VERSION, Check, Code, Dimension, Manifest, ManifestError, Retry, Schedule, Step, dump, load


def step(key: str, *upstream: str) -> Step:
    """A step with something in every field."""
    return Step(
        key=key, node=key, assets=(key,), checks=(Check(asset=key, name="ok", blocking=True),), upstream=upstream, external=("outside",),
        outlets=(key,), group="g", owners=("team:data",), kinds=("sql",), tags={"tier": "1"}, pool="p", priority=2,
        retry=Retry(max_retries=1, delay_seconds=2.0, backoff="constant", jitter="none"), airflow={"queue": "q"},
    )  # fmt: skip


MANIFEST = Manifest(
    version=VERSION, job="sums", description="é", code=Code(module="m", attribute="defs", location="m"),
    schedules=(Schedule(name="daily", cron=("0 6 * * *",), timezone="UTC", running=False),),
    partitions=(Dimension(name="", kind="static", keys=("eu", "us")),), steps=(step("a"), step("b", "a")),
)  # fmt: skip


def write(path: Path, change: Callable[[dict[str, Any]], Any] | None = None, *, sign: bool = True) -> Path:
    """A manifest file, changed; signed again unless told otherwise."""
    content = json.loads(dump(MANIFEST))
    if change is not None:
        change(content)
    if sign and change is not None:
        from airflow_bridge import manifest

        text = json.dumps({**content, "fingerprint": ""})
        content["fingerprint"] = manifest._fingerprint(text)
        path.write_text(text.replace(manifest._UNSIGNED, manifest._SIGNED.format(content["fingerprint"])), encoding="utf-8")
        return path
    path.write_text(dump(MANIFEST) if change is None else json.dumps(content), encoding="utf-8")
    return path


def test_what_is_dumped_is_loaded(tmp_path: Path) -> None:
    """A manifest survives the way through a file."""
    path = tmp_path / "sums.json"
    path.write_text(dump(MANIFEST), encoding="utf-8")
    loaded = load(path)
    assert dataclasses.replace(loaded, fingerprint="") == MANIFEST


def test_steps_that_are_no_tasks(tmp_path: Path) -> None:
    """The steps of a job that one task runs may have any name, as those have that Dagster makes while it runs."""
    whole = dataclasses.replace(MANIFEST, whole=True, steps=(step("a"), step("count[?]", "a")))
    (tmp_path / "sums.json").write_text(dump(whole), encoding="utf-8")
    assert [one.key for one in load(tmp_path / "sums.json").steps] == ["a", "count[?]"]


def test_equal_manifests_have_equal_bytes() -> None:
    """The same job gives the same file."""
    assert dump(MANIFEST) == dump(dataclasses.replace(MANIFEST))


def test_fingerprint_follows_the_content() -> None:
    """Another content has another fingerprint."""
    assert dump(MANIFEST) != dump(dataclasses.replace(MANIFEST, job="other"))


@pytest.mark.parametrize(
    ("change", "sign", "said"),
    [
        (lambda c: c.update(version=99), True, "version 99"),
        (lambda c: c.update(job="edited"), False, "edited or damaged"),
        (lambda c: c.update(surprise=1), True, "of the wrong kind"),
        (lambda c: c.pop("steps"), True, "a field is missing"),
        (lambda c: c["steps"][0].pop("key"), True, "a field is missing"),
        (lambda c: c["steps"].append(c["steps"][0]), True, "two steps are named 'a'"),
        (lambda c: c["steps"].reverse(), True, "a cycle or a gap"),
        (lambda c: c["steps"][0].update(upstream=["b"]), True, "a cycle or a gap"),
        (lambda c: c["steps"][0].update(key="a" * 251), True, "cannot be the id of a task"),
        (lambda c: c["steps"][0].update(key="a b"), True, "cannot be the id of a task"),
    ],
)
def test_unusable_manifests_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], sign: bool, said: str) -> None:
    """What is not exactly a manifest is an error that names file, cause and next step."""
    path = write(tmp_path / "sums.json", change, sign=sign)
    with pytest.raises(ManifestError, match=said) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "Next:" in str(caught.value)


def test_truncated_manifest(tmp_path: Path) -> None:
    """A file that was cut off is named as such."""
    path = tmp_path / "sums.json"
    path.write_text(dump(MANIFEST)[:200], encoding="utf-8")
    with pytest.raises(ManifestError, match="perhaps cut off"):
        load(path)


def test_missing_manifest(tmp_path: Path) -> None:
    """A missing file says which command makes it."""
    with pytest.raises(ManifestError, match="airflow-bridge export"):
        load(tmp_path / "none.json")
