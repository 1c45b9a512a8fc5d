"""What commands work on: the settings, the database tables are kept in, the module that defines assets.

Not here: the commands (`cli.py`, `cli_loading.py`).
"""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from etl_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from etl_assets.config import Settings
    from etl_assets.loading.postgres import PostgresResource


def settings() -> "Settings":
    """What the environment variables say."""
    from etl_assets.config import read_settings

    return read_settings()


def warehouse() -> "PostgresResource":
    """DATABASE_URL, else the embedded server, started when needed."""
    from etl_assets.config import warehouse_url
    from etl_assets.loading.postgres import PostgresResource

    return PostgresResource(url=warehouse_url(settings()))


def import_module(module: str) -> None:
    """Import a module of the user's, from the current folder too, so that its assets are defined.

    Raises:
        ConfigurationError: It cannot be imported.
    """
    sys.path.insert(0, str(Path.cwd()))
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError("-m", f"the module {module!r} cannot be imported ({error}).", "correct its name.") from error


__all__ = ["import_module", "settings", "warehouse"]
