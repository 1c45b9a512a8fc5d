"""Tests of `airflow_bridge`. What imports Airflow runs in its own process, as it does in production."""
