"""A DAG for each manifest in the folder `manifests` beside this file; the same file for every project."""

from airflow_bridge.dags import dags_from_folder

globals().update(dags_from_folder("manifests"))
