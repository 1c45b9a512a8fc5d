"""Work in threads, for what reads files and works on Arrow buffers: neither needs the GIL.

Not here: what is worked on (`frames.py`, the connectors, `postgres/copy_out.py`).
"""

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")
_LONG = 50_000  # rows; for fewer a thread costs more than it saves
TOGETHER = 2
"""How many tasks run at once."""


def each_column(function: Callable[[Any], Any], columns: Iterable[Any], rows: int) -> list[Any]:
    """What a function makes of each column, in order; of long ones two at a time, for what works on Arrow buffers needs no GIL."""
    if rows < _LONG:
        return [function(column) for column in columns]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="columns") as threads:
        return list(threads.map(function, columns))


def results(tasks: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """What tasks return, in their order; two run in threads, and the next one is ready when one of them ends."""
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=TOGETHER, thread_name_prefix="results") as threads:
        for task in tasks:
            running.append(threads.submit(task))
            if len(running) > TOGETHER:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def ahead(parts: Iterator[Result], depth: int) -> Iterator[Result]:
    """The parts as they come, so many of them made in a thread before they are asked for."""
    made: queue.Queue[tuple[Result | None, BaseException | None]] = queue.Queue(depth)
    is_over = threading.Event()

    def put(part: Result | None, error: BaseException | None = None) -> None:
        while not is_over.is_set():
            with contextlib.suppress(queue.Full):
                made.put((part, error), timeout=0.1)
                return

    def make() -> None:
        try:
            for part in parts:
                put(part)
                if is_over.is_set():
                    return
            put(None)
        except BaseException as error:  # handed to whoever asks for the parts
            put(None, error)

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            part, error = made.get()
            if error is not None:
                raise error
            if part is None:
                return
            yield part
    finally:
        is_over.set()
        thread.join()


__all__ = ["TOGETHER", "ahead", "each_column", "results"]
