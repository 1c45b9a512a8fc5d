"""Faults of rows and functions, and loads that meet. Each function makes one, lets it heal, and tells whether it landed.

Not here: processes, connections and the server (`kinds.py`).
"""

import tempfile
import time
from pathlib import Path

from etl_assets_tests.faults.dagster_job import run_again, run_and_die
from etl_assets_tests.faults.deliveries import PARTS, Delivery
from etl_assets_tests.faults.process import Outcome
from etl_assets_tests.faults.stage import Stage


def deliver_twice(stage: Stage) -> bool:
    """A delivery that is in its table comes again."""
    delivery = stage.delivery()
    since = time.monotonic()
    stage.settle(delivery, stage.load(delivery), since=since)
    again = stage.load(delivery)
    return again.status == "loaded" and again.found_committed


def three_loads_of_one_delivery(stage: Stage) -> bool:
    """A delivery is loaded three times at once."""
    delivery = stage.delivery()
    since = time.monotonic()
    loaders = [stage.start(delivery) for _ in range(3)]
    outcomes = [loader.outcome() for loader in loaders]
    stage.settle(delivery, outcomes[0], since=since)
    return [one.status for one in outcomes] == ["loaded"] * 3 and sum(one.found_committed for one in outcomes) == 2


def three_loads_of_one_table(stage: Stage) -> bool:
    """Three deliveries of one table at once; the last one to commit is what the table holds."""
    first = stage.delivery()
    deliveries = [first, *(stage.delivery(first.table, part=first.part) for _ in range(2))]
    since = time.monotonic()
    loaders = [stage.start(delivery) for delivery in deliveries]
    outcomes = [loader.outcome() for loader in loaders]
    for delivery in _by_commit(stage, deliveries):
        stage.settle(delivery, Outcome(status="loaded"), since=since)
    return [one.status for one in outcomes] == ["loaded"] * 3


def two_partitions_at_once(stage: Stage) -> bool:
    """Two partitions of one table are replaced at once."""
    deliveries = [stage.delivery("parted", part=part) for part in stage.random.sample(range(PARTS), 2)]
    since = time.monotonic()
    loaders = [stage.start(delivery) for delivery in deliveries]
    outcomes = [loader.outcome() for loader in loaders]
    for delivery, outcome in zip(deliveries, outcomes, strict=True):
        stage.settle(delivery, outcome, since=since)
    return [one.status for one in outcomes] == ["loaded"] * 2


def _by_commit(stage: Stage, deliveries: list[Delivery]) -> list[Delivery]:
    committed = dict(stage.warehouse.execute("SELECT load_id::text, recorded_at FROM etl.loads WHERE status = 'succeeded'"))
    return sorted(deliveries, key=lambda delivery: committed[str(delivery.load_id)])


def replace_while_readers_read(stage: Stage) -> bool:
    """A table is replaced while a reader holds it: the reader sees the old rows to its end, and then the new ones."""
    before = stage.delivery("replaced")
    stage.settle(before, stage.load(before), since=time.monotonic())
    delivery = stage.delivery("replaced")
    since = time.monotonic()
    with stage.warehouse.session(autocommit=False) as reader:
        reader.execute("SELECT min(number), max(number), count(*) FROM replaced")
        first = reader.fetchone()
        loader = stage.start(delivery)
        loader.wait_until("copied", delivery.frames)
        reader.execute("SELECT min(number), max(number), count(*) FROM replaced")
        second = reader.fetchone()
    stage.settle(delivery, loader.outcome(), since=since)
    return bool(first == second == (before.number, before.number, before.rows))


def columns_change_in_the_middle(stage: Stage) -> bool:
    """The last frame has another column: nothing is loaded, and the error names the columns."""
    return _mistake(stage, stage.delivery(mistake="columns"), "value", "UnstorableValueError")


def type_changes_in_the_middle(stage: Stage) -> bool:
    """The last frame has texts for numbers: nothing is loaded, and the error names column and row."""
    return _mistake(stage, stage.delivery(mistake="dtype"), "column v", "UnstorableValueError")


def value_cannot_be_stored(stage: Stage) -> bool:
    """The last row has a fraction where whole numbers are stored: nothing is loaded, and the error names the value."""
    return _mistake(stage, stage.delivery(mistake="value"), "column v", "1.5")


def function_raises_in_the_middle(stage: Stage) -> bool:
    """The function that makes the frames raises: nothing is loaded, and its error comes out as it is."""
    delivery = stage.delivery(mistake="function")
    since = time.monotonic()
    outcome = stage.load(delivery)
    stage.settle(stage.delivery(delivery.table, part=delivery.part), Outcome(status="failed"), since=since)
    return outcome.status == "raised" and "ZeroDivisionError: a mistake of the user's function" in outcome.says


def _mistake(stage: Stage, delivery: Delivery, *words: str) -> bool:
    since = time.monotonic()
    return stage.refused(delivery, stage.load(delivery), *words, since=since)


def run_killed_before_its_event(stage: Stage) -> bool:
    """A Dagster run is killed after its append has committed and before Dagster knows of it; the run that tries it again adds nothing."""
    delivery = stage.delivery("appended")
    since = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="etl-assets-dagster-") as home:
        url = stage.warehouse.url()
        run = run_and_die(url, Path(home), delivery)
        ((there,),) = stage.warehouse.execute(f"SELECT count(*) FROM appended WHERE number = {delivery.number}")
        landed = there == delivery.rows and run_again(url, Path(home), delivery, run)
    # Its id is Dagster's business, and it is in the table by now.
    stage.expected.add_rows(delivery)
    stage.healed_seconds.append(time.monotonic() - since)
    return landed


MISTAKES = (
    deliver_twice, three_loads_of_one_delivery, three_loads_of_one_table, two_partitions_at_once, replace_while_readers_read,
    columns_change_in_the_middle, type_changes_in_the_middle, value_cannot_be_stored, function_raises_in_the_middle,
    run_killed_before_its_event,
)  # fmt: skip

__all__ = ["MISTAKES"]
