"""The process of one measurement: `python -m benchmarks.worker CHAPTER METHOD FOLDER`; prints a `Measure` as JSON."""

import importlib
import sys
from pathlib import Path

from benchmarks.harness import printed, run_method
from benchmarks.place import Place

chapter, name, folder = sys.argv[1:]
place = Place.read(Path(folder))
body = importlib.import_module(f"benchmarks.{chapter}").METHODS[name](place)
print(printed(run_method(body, place)))
