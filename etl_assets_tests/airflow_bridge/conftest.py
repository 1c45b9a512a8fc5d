"""Airflow makes a folder and a database when it is imported: those of the tests lie in a temporary folder.

Not here: servers of Airflow (`end_to_end/`).
"""

import os
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="etl-assets-airflow-")
