"""Where the sources of the example are. The variables are set by `etl-assets demo`, `etl-assets ui` and `etl-assets exec`.

Not here: how the sources come to be (`sources/`).
"""

from typing import Any

import dagster as dg

from etl_assets.connectors.excel import ExcelResource
from etl_assets.connectors.files import FilesResource
from etl_assets.connectors.rest import RestResource
from etl_assets.connectors.sql import SqlResource

OPERATIONS_URL, PLANES_API_URL, FILES_FOLDER = "NYC_OPERATIONS_URL", "NYC_PLANES_API_URL", "NYC_FILES_FOLDER"


def source_resources() -> dict[str, Any]:
    """One resource per source; values of variables are read when a run starts."""
    return {
        "operations": SqlResource(url=dg.EnvVar(OPERATIONS_URL)),
        "planes_api": RestResource(base_url=dg.EnvVar(PLANES_API_URL)),
        "files": FilesResource(base_folder=dg.EnvVar(FILES_FOLDER)),
        "workbooks": ExcelResource(base_folder=dg.EnvVar(FILES_FOLDER)),
    }


__all__ = ["FILES_FOLDER", "OPERATIONS_URL", "PLANES_API_URL", "source_resources"]
