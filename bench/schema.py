"""The result file: its versioned schema, a validator for the part of JSON Schema it uses, reading and writing.

`SCHEMA` is a JSON Schema (2020-12), so any validator can check a file; ours needs nothing installed. A change that an
old reader would misread raises the number in `VERSION`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VERSION = "transport-bench/1"

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_NS = {"type": ["number", "null"]}
_CORES = {"type": "array", "items": {"type": "integer"}}

_LATENCY = {
    "type": "object",
    "required": ["n", "min_ns", "max_ns", "mean_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "hist"],
    "properties": {
        "n": _COUNT,
        "hist": {
            "type": "array",
            "items": {"type": "array", "items": _COUNT},
            "description": "[bucket, samples]; a bucket's middle is 2 ** ((bucket + 0.5) / 64) ns",
        },
        **dict.fromkeys(("min_ns", "max_ns", "mean_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns"), _NS),
    },
}
_PROBE = {
    "type": "object",
    "properties": {
        "table": {
            "type": "object",
            "required": ["title", "head", "rows", "note"],
            "properties": {
                "title": _TEXT,
                "head": {"type": "array", "items": _TEXT},
                "rows": {"type": "array", "items": {"type": "array", "items": _TEXT}},
                "note": _TEXT,
            },
        },
        "cells": {"type": "array", "items": {"type": "object"}},
    },
}
_THROUGHPUT = {
    "type": "object",
    "required": [
        "sent",
        "received",
        "checked",
        "messages",
        "seconds",
        "per_second",
        "bytes_per_second",
        "lost_percent",
    ],
    "properties": {
        "sent": _COUNT,
        "received": _COUNT,
        "checked": _COUNT,
        "messages": _COUNT,
        "seconds": _NUMBER,
        "per_second": _NUMBER,
        "bytes_per_second": _NUMBER,
        "lost_percent": _NUMBER,
    },
}
_OPEN = {
    "type": "object",
    "required": ["planned", "arrived", "lost", "doubled", "swapped", "within_100ms", "lateness"],
    "properties": {
        **dict.fromkeys(("planned", "arrived", "lost", "doubled", "swapped"), _COUNT),
        "within_100ms": _NUMBER,
        "lateness": _LATENCY,
    },
}
_TREE = {
    "type": "object",
    "required": ["commit", "title", "compiled"],
    "properties": {"commit": _TEXT_OR_NULL, "title": _TEXT, "compiled": _TEXT},
}
_ROUND = {
    "type": "object",
    "required": ["case", "peer", "block", "order", "status", "why", "flagged", "wall_s", "placement"],
    "properties": {
        "case": _TEXT,
        "peer": _TEXT,
        "block": _COUNT,
        "order": _COUNT,
        "status": {"enum": ["OK", "FAIL", "INVALID"]},
        "why": _TEXT_OR_NULL,
        "flagged": {"type": "boolean"},
        "wall_s": _NUMBER,
        "again": _COUNT,  # how often it had been run before and was INVALID
        "placement": {
            "type": "object",
            "required": ["client", "server"],
            "properties": {"client": _CORES, "server": _CORES},
        },
        "measured_s": _NUMBER,
        "steal_ms": _NUMBER,
        "steal_percent": _NUMBER,
        "tree": {"enum": ["old", "new", "floor"]},
        "pair": _COUNT,
        "turns": {"type": "array", "items": _NUMBER},
        "turns_cpu": {"type": "array", "items": _NUMBER},
        "pressure_us": _NUMBER,
        "messages": _COUNT,
        "latency": _LATENCY,
        "throughput": _THROUGHPUT,
        "open": _OPEN,
        "link": {"type": "object"},
        "processes": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["cpu_ns", "voluntary_switches", "involuntary_switches"],
                "properties": dict.fromkeys(
                    ("cpu_ns", "waited_ns", "voluntary_switches", "involuntary_switches"), _COUNT
                ),
            },
        },
        "memory": {"type": "object", "additionalProperties": {"type": "object"}},
    },
}
_PEER = {
    "type": "object",
    "required": ["id", "title", "kind", "scheme", "loop", "reliable", "one_process", "versions", "settings", "note"],
    "properties": {
        "id": _TEXT,
        "title": _TEXT,
        "kind": {"enum": ["floor", "baseline", "library", "ours"]},
        "scheme": {"enum": ["tcp", "unix", "udp", "rudp", "tls", "ws", "memory"]},
        "loop": _TEXT,
        "reliable": {"type": "boolean"},
        "ordered": {"type": "boolean"},
        "one_process": {"type": "boolean"},
        "versions": {"type": "object", "additionalProperties": _TEXT},
        "settings": {"type": "object", "additionalProperties": _TEXT},
        "note": _TEXT,
    },
}
_TRACE = {
    "type": ["object", "null"],
    "required": ["name", "sha256", "messages", "bytes", "smallest", "largest", "connections", "span_s", "raised"],
    "properties": {
        "name": _TEXT,
        "sha256": _TEXT,
        **dict.fromkeys(("messages", "bytes", "smallest", "largest", "connections", "raised"), _COUNT),
        "span_s": _NUMBER,
        "speed": _NUMBER,
        "length_s": _NUMBER,
        "loop": {"type": "boolean"},
    },
}
_CASE = {
    "type": "object",
    "required": ["id", "mode", "payload", "mixed", "codec", "fanout", "placement", "burst", "title", "peers"],
    "properties": {
        "id": _TEXT,
        "mode": {"enum": ["latency", "throughput", "open"]},
        "payload": _COUNT,
        "mixed": {"type": "boolean"},
        "codec": _TEXT,
        "fanout": _COUNT,
        "burst": _COUNT,
        "connections": _COUNT,
        "rate": _NUMBER,
        "arrival": {"enum": ["constant", "poisson"]},
        "link": {"type": ["object", "null"]},
        "trace": _TRACE,
        "seconds": _NUMBER,
        "placement": {"enum": ["same", "each", "free"]},
        "title": _TEXT,
        "peers": {"type": "array", "items": _TEXT},
    },
}
_BAR = {
    "type": "object",
    "required": ["id", "title", "value", "low", "high", "quiet", "bar", "direction", "n", "verdict", "why"],
    "properties": {
        "id": _TEXT,
        "title": _TEXT,
        "unit": _TEXT,
        "value": _NS,
        "low": _NS,
        "high": _NS,
        "quiet": _NS,
        "bar": _NUMBER,
        "direction": {"enum": ["<=", ">="]},
        "n": _COUNT,
        "verdict": {"enum": ["PASS", "FAIL", "NOT MEASURED", "INFORMATION"]},
        "why": _TEXT_OR_NULL,
        "ratios": {"type": "object", "additionalProperties": _NUMBER},
    },
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": VERSION,
    "type": "object",
    "required": [
        "schema",
        "tool",
        "started",
        "seconds",
        "preview",
        "complete",
        "why_incomplete",
        "environment",
        "config",
        "peers",
        "missing",
        "cases",
        "rounds",
        "bars",
    ],
    "properties": {
        "schema": {"const": VERSION},
        "tool": {
            "type": "object",
            "required": ["command", "commit", "dirty", "version"],
            "properties": {
                "command": _TEXT,
                "commit": _TEXT_OR_NULL,
                "dirty": {"type": ["boolean", "null"]},
                "version": _TEXT_OR_NULL,
            },
        },
        "started": {"type": "string", "description": "UTC, ISO 8601"},
        "seconds": _NUMBER,
        "preview": {"type": "boolean"},
        "complete": {"type": "boolean"},
        "why_incomplete": _TEXT_OR_NULL,
        "environment": {"type": "object", "required": ["kernel", "cpu", "python", "sysctl", "clock"]},
        "config": {
            "type": "object",
            "required": ["rounds", "seconds", "warmup", "seed"],
            "properties": {
                "rounds": _COUNT,
                "seconds": _NUMBER,
                "warmup": _NUMBER,
                "seed": {"type": "integer"},
                "lanes": _COUNT,
            },
        },
        "peers": {"type": "array", "items": _PEER},
        "missing": {
            "type": "array",
            "items": {"type": "object", "required": ["id", "install"], "properties": {"id": _TEXT, "install": _TEXT}},
        },
        "cases": {"type": "array", "items": _CASE},
        "rounds": {"type": "array", "items": _ROUND},
        "bars": {"type": "array", "items": _BAR},
        "probes": {"type": "object", "additionalProperties": _PROBE},
        "trees": {"type": "object", "additionalProperties": _TREE},
    },
}

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


class SchemaError(ValueError):
    """A result file is not what the schema says; the text names the place."""


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])


def validate(value: Any, schema: dict[str, Any] | None = None, place: str = "$") -> None:
    """Raises SchemaError at the first place where `value` does not fit `schema` (the result file's by default)."""
    schema = SCHEMA if schema is None else schema
    if "const" in schema and value != schema["const"]:
        raise SchemaError(f"{place}: {value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise SchemaError(f"{place}: {value!r} is none of {schema['enum']}")
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        raise SchemaError(f"{place}: {type(value).__name__} is not {' or '.join(kinds)}")
    if "minimum" in schema and isinstance(value, int | float) and value < schema["minimum"]:
        raise SchemaError(f"{place}: {value} is below {schema['minimum']}")
    if isinstance(value, dict):
        _validate_object(value, schema, place)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            validate(item, schema["items"], f"{place}[{index}]")


def _validate_object(value: dict[str, Any], schema: dict[str, Any], place: str) -> None:
    for name in schema.get("required", []):
        if name not in value:
            raise SchemaError(f"{place}: {name} is missing")
    known = schema.get("properties", {})
    for name, item in value.items():
        inner = known.get(name, schema.get("additionalProperties"))
        if isinstance(inner, dict):
            validate(item, inner, f"{place}.{name}")


def load(path: Path) -> dict[str, Any]:
    """Reads and validates a result file. Raises SchemaError or OSError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SchemaError(f"{path.name} is no JSON: {error}") from error
    validate(data)
    return dict(data)


def save(data: dict[str, Any], path: Path) -> None:
    """Validates and writes a result file, one round a line so that two files can be compared by eye."""
    validate(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, value in data.items():
        if isinstance(value, list) and value:
            body = ",\n    ".join(json.dumps(item) for item in value)
            lines.append(f"  {json.dumps(name)}: [\n    {body}\n  ]")
        else:
            lines.append(f"  {json.dumps(name)}: {json.dumps(value)}")
    part = path.with_name(f".{path.name}.part")  # a break in the middle leaves the old file
    part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    part.replace(path)
