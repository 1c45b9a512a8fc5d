"""The run config of a Dagster job as JSON schema, so that Airflow checks it when a DAG is triggered.

Types and descriptions only, never a default: a default may be a secret.

Not here: what Airflow does with it (`dags.py`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._config import ConfigTypeKind

_SCALARS = {"INT": "integer", "STRING": "string", "BOOL": "boolean", "FLOAT": "number"}


def config_schema(job: dg.JobDefinition) -> dict[str, Any]:
    """JSON schema of the config of a job's assets and ops: `{"ops": {name: {"config": ...}}}`; {} where they take none."""
    ops = job.run_config_schema.config_type.fields.get("ops")  # type: ignore[attr-defined]
    inner = _shape(ops.config_type) if ops is not None else None
    if inner is None:
        return {}
    schema: dict[str, Any] = {"type": "object", "properties": {"ops": inner}}
    if inner.get("required") and ops.is_required:
        schema["required"] = ["ops"]
    return schema


def _shape(config_type: Any) -> dict[str, Any] | None:
    """The fields that lead to a config; None where none does."""
    properties: dict[str, Any] = {}
    required = []
    for name, field in sorted(config_type.fields.items()):
        if name == "config":
            found: dict[str, Any] | None = _schema(field.config_type)
            if field.config_type.kind is ConfigTypeKind.STRICT_SHAPE and not field.config_type.fields:
                found = None
            if field.config_type.kind is ConfigTypeKind.ANY and not field.is_required:
                # An op that declares no config takes any, and reads none.
                found = None
        elif hasattr(field.config_type, "fields") and name not in ("inputs", "outputs"):
            found = _shape(field.config_type)
        else:
            found = None
        if found is None:
            continue
        properties[name] = {**found, "description": field.description} if field.description else found
        if field.is_required:
            required.append(name)
    if not properties:
        return None
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _schema(config_type: Any) -> dict[str, Any]:
    kind = config_type.kind
    if kind is ConfigTypeKind.SCALAR:
        return {"type": _SCALARS[config_type.scalar_kind.value]} if config_type.scalar_kind.value in _SCALARS else {}
    if kind is ConfigTypeKind.ENUM:
        return {"enum": [value.config_value for value in config_type.enum_values]}
    if kind is ConfigTypeKind.NONEABLE:
        return {"anyOf": [_schema(config_type.inner_type), {"type": "null"}]}
    if kind is ConfigTypeKind.ARRAY:
        return {"type": "array", "items": _schema(config_type.inner_type)}
    if kind is ConfigTypeKind.MAP:
        return {"type": "object", "additionalProperties": _schema(config_type.inner_type)}
    if kind is ConfigTypeKind.SCALAR_UNION:
        return {"anyOf": [_schema(config_type.scalar_type), _schema(config_type.non_scalar_type)]}
    if kind is ConfigTypeKind.SELECTOR:
        choices = [_fields({name: field}, everything=True) for name, field in sorted(config_type.fields.items())]
        closed = [{**one, "additionalProperties": False} for one in choices]
        return closed[0] if len(closed) == 1 else {"oneOf": closed}
    if kind in (ConfigTypeKind.STRICT_SHAPE, ConfigTypeKind.PERMISSIVE_SHAPE):
        return {**_fields(config_type.fields), "additionalProperties": kind is ConfigTypeKind.PERMISSIVE_SHAPE}
    return {}


def _fields(fields: Mapping[str, Any], *, everything: bool = False) -> dict[str, Any]:
    properties = {
        name: {**_schema(field.config_type), **({"description": field.description} if field.description else {})}
        for name, field in sorted(fields.items())
    }
    required = [name for name, field in sorted(fields.items()) if everything or field.is_required]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


__all__ = ["config_schema"]
