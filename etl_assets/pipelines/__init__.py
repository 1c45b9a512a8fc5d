"""One folder per data set: its contracts, assets, jobs and sources. Each can be deleted without touching the rest but `definitions.py`."""
