"""HTTP servers that other people wrote, for the acceptance tests: each is a context manager, runs on a free port of loopback, and is
stopped at the end.

`packages.sh` installs them. Not here: databases (`database_servers.py`), fixtures (`conftest.py`), httpbin and how a server is started
(`httpbin_server.py`).
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from etl_assets_tests.httpbin_server import ServerNotStartedError, get, served, temporary_folder

HOST = "127.0.0.1"
# Where packages.sh puts what npm installs, and the files of other projects' tests.
NPM = Path(sys.prefix) / "acceptance-npm" / "node_modules"
FILES = Path(sys.prefix) / "acceptance-files"


def node_program(name: str) -> str:
    """Path of a program that npm installed.

    Raises:
        ServerNotStartedError: It is not there.
    """
    program = NPM / ".bin" / name
    if not program.exists():
        raise ServerNotStartedError(f"{program} does not exist. Next: `make acceptance` installs it.")
    return str(program)


@contextmanager
def json_server(database: Mapping[str, Any]) -> Iterator[str]:
    """Base URL of a json-server: each list of the database is a resource, which pages by `_page` and `_limit`, with a Link header and
    X-Total-Count."""
    token = secrets.token_hex(16)
    program = node_program("json-server")
    with temporary_folder() as folder:
        (folder / "database.json").write_text(json.dumps(database))
        (folder / "public").mkdir()
        (folder / "public" / "token.txt").write_text(token)
        with served(
            lambda port: [program, "--host", HOST, "--port", str(port), "--static", "public", "database.json"],
            lambda port: get(f"http://{HOST}:{port}/token.txt").text == token,
            folder=folder,
        ) as port:
            yield f"http://{HOST}:{port}"


def _openapi() -> dict[str, Any]:
    def says(description: str, example: Any, **more: Any) -> dict[str, Any]:
        kind = "array" if isinstance(example, list) else "object"
        return {"description": description, "content": {"application/json": {"schema": {"type": kind}, "example": example}}, **more}

    def path(*credentials: str) -> dict[str, Any]:
        refused = says("The credential is missing.", {"error": "unauthorized"})
        rows = says("Two rows.", [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}])
        return {"get": {"security": [{name: []} for name in credentials], "responses": {"200": rows, "401": refused}}}

    limited = path()
    limited["get"]["responses"]["429"] = says(
        "Too many requests.", {"error": "slow down"}, headers={"Retry-After": {"schema": {"type": "integer"}, "example": 1}}
    )
    grant = {"type": "object", "required": ["grant_type"], "properties": {"grant_type": {"enum": ["client_credentials"]}}}
    token = says("A token for an hour.", {"access_token": "token-of-the-test", "token_type": "Bearer", "expires_in": 3600})
    return {
        "openapi": "3.0.3",
        "info": {"title": "Credentials of every kind", "version": "1"},
        "paths": {
            **{f"/by-{name}": path(name) for name in ("header", "query", "cookie", "bearer", "basic", "oauth2")},
            "/limited": limited,
            "/token": {
                "post": {
                    "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": grant}}},
                    "responses": {"200": token, "422": says("No such grant.", {"error": "unsupported_grant_type"})},
                }
            },
        },
        "components": {
            "securitySchemes": {
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "api_key"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "session"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
                "oauth2": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "/token", "scopes": {}}}},
            }
        },
    }


# Two rows at each path; /limited answers 429 with Retry-After when asked with `Prefer: code=429`.
OPENAPI = _openapi()


@contextmanager
def prism(document: Mapping[str, Any] = OPENAPI) -> Iterator[str]:
    """Base URL of a Prism that answers as an OpenAPI document says, and refuses what the document does not allow.

    It asks for the credentials of the document, and does not look whether they are right.
    """
    started = f"/started-{secrets.token_hex(16)}"
    answer = {"description": "started", "content": {"application/json": {"schema": {"type": "boolean"}, "example": True}}}
    program = node_program("prism")
    with temporary_folder() as folder:
        paths = {**document["paths"], started: {"get": {"security": [], "responses": {"200": answer}}}}
        (folder / "openapi.json").write_text(json.dumps({**document, "paths": paths}))
        with served(
            lambda port: [program, "mock", "--errors", "--host", HOST, "--port", str(port), "openapi.json"],
            lambda port: get(f"http://{HOST}:{port}{started}").status_code == 200,
            folder=folder,
        ) as port:
            yield f"http://{HOST}:{port}"


@dataclass(frozen=True, kw_only=True)
class AzuriteTables:
    """Azure's table service, as Azurite plays it.

    GET `/NAME()` answers 1,000 rows a page, or `$top`; the headers `x-ms-continuation-NextPartitionKey` and `-NextRowKey` are the cursor,
    to be sent back as the query parameters NextPartitionKey and NextRowKey, and the last page has none. The rows stand under `value`. The
    header Accept must be `application/json`, with `;odata=nometadata` for rows without annotations; `*/*` is refused with 415.

    Attributes:
        url: Base URL with the account, without a slash at the end; a table is read at `/NAME()`.
        account: Name of the account.
        key: Secret key of the account, base64; another one for every server.
    """

    url: str
    account: str
    key: str = field(repr=False)

    def signature(self, permissions: str = "rwdlacu") -> dict[str, str]:
        """Query parameters that sign a request (a shared access signature of the account); `r` reads, `a` adds."""
        signed = {"sp": permissions, "ss": "t", "srt": "sco", "se": "2099-01-01T00:00:00Z", "spr": "https,http", "sv": "2019-02-02"}
        # Start time and addresses stay empty.
        text = "\n".join([self.account, signed["sp"], signed["ss"], signed["srt"], "", signed["se"], "", signed["spr"], signed["sv"], ""])
        digest = hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()
        return {**signed, "sig": base64.b64encode(digest).decode()}

    def create_table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Make a table of rows, each with PartitionKey and RowKey; answers come in the order of these two.

        Args:
            name: 3 to 63 letters and digits.
            rows: Inserted one by one, about 700 a second.
        """
        with requests.Session() as session:
            session.trust_env = False
            session.params = self.signature()
            session.headers.update({"Accept": "application/json;odata=nometadata", "Prefer": "return-no-content"})
            session.post(f"{self.url}/Tables", json={"TableName": name}, timeout=10).raise_for_status()
            for row in rows:
                session.post(f"{self.url}/{name}", json=dict(row), timeout=10).raise_for_status()


@contextmanager
def azurite_tables() -> Iterator[AzuriteTables]:
    """A running table service without tables."""
    account = "devstoreaccount1"
    program = node_program("azurite-table")
    key = base64.b64encode(secrets.token_bytes(48)).decode()

    def tables(port: int) -> AzuriteTables:
        return AzuriteTables(url=f"http://{HOST}:{port}/{account}", account=account, key=key)

    def answers(port: int) -> bool:
        # Another server would not accept a signature by this key.
        said = get(f"{tables(port).url}/Tables", params=tables(port).signature(), headers={"Accept": "application/json"})
        return said.status_code == 200

    with (
        temporary_folder() as folder,
        served(
            lambda port: [program, "--inMemoryPersistence", "--tableHost", HOST, "--tablePort", str(port)],
            answers,
            folder=folder,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"},
        ) as port,
    ):
        yield tables(port)


__all__ = ["FILES", "NPM", "OPENAPI", "AzuriteTables", "azurite_tables", "json_server", "node_program", "prism"]
