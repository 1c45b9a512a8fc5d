"""Any Dagster asset job as an Airflow DAG, in two halves joined only by files.

    Dagster side   export.py job_manifest.py plan.py remarks.py config_schema.py   definitions -> manifest
                   runner.py asset_runs.py reader.py                               carry out requests of tasks
    between        manifest.py launcher.py selection.py differences.py             standard library
    Airflow side   dags.py tasks.py options.py operators.py watching.py            manifest -> DAG
                   alerts.py links.py compat.py

The Airflow side never imports dagster or pandas when a DAG file is parsed; the Dagster side never imports airflow. Nothing here
imports etl_assets.
"""
