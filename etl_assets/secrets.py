"""Secrets: how a Dagster field says that it holds one, and taking them out of texts that people see.

Not here: which credentials an API takes (`connectors/credentials.py`), passwords inside database URLs (`postgres/connection.py`).
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote, quote_plus

SECRET: Final[dict[str, Any]] = {"dagster__is_secret": True}
"""For `Field(json_schema_extra=SECRET)`: Dagster then shows no value."""
# Shorter texts stand in messages by chance.
_SHORTEST = 4


class Secrets:
    """Takes the values of secrets out of texts, such as what an API says of a request that it refuses."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = list(values)

    def hidden(self, text: str, tokens: Iterable[str] = ()) -> str:
        """The text with *** for each secret, as it stands, as it stands in an address, and in base64.

        Args:
            text: To be shown to a person.
            tokens: Secrets that came to be known later.
        """
        forms = {form for value in [*self._values, *tokens] for form in _forms(value)}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text


def _forms(value: str) -> Iterator[str]:
    if len(value) >= _SHORTEST:
        yield from (
            value,
            quote(value, safe=""),
            quote(value),
            quote_plus(value),
            base64.b64encode(value.encode("utf-8", "replace")).decode(),
        )


__all__ = ["SECRET", "Secrets"]
