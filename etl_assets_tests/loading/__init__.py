"""Tests of `etl_assets/loading`, against a real PostgreSQL."""
