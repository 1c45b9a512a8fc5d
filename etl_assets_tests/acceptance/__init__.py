"""Tests that need packages of the system: a browser looks at the Dagster UI. `make acceptance` runs them."""
