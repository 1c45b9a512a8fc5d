"""Measurements against what people would use instead: `make benchmarks` runs them and writes `docs/reports/benchmarks.json` and `.md`."""
