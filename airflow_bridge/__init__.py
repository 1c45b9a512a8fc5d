"""Any Dagster asset job as an Airflow DAG, in two halves joined only by files.

    Dagster side   export.py   definitions -> manifest            runner.py   executes one step of a run
    between        manifest.py the hand-over, standard library    launcher.py how a task reaches the runner
    Airflow side   dags.py     manifest -> DAG                    operators.py the tasks

The Airflow side never imports dagster or pandas when a DAG file is parsed; the Dagster side never imports airflow. Nothing here
imports etl_assets.
"""
