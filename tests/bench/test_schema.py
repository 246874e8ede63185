"""The result file: what fits, what does not, and that a file survives the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import schema
from tests.bench import results


def test_a_result_survives_the_disk(tmp_path: Path) -> None:
    data = results.result()
    path = tmp_path / "deep" / "result.json"
    schema.save(data, path)
    assert schema.load(path) == json.loads(json.dumps(data))
    assert path.read_text().count("\n") > len(data["rounds"]), "a round a line"


def broken(change: Any) -> dict[str, Any]:
    data = json.loads(json.dumps(results.result()))
    change(data)
    return dict(data)


@pytest.mark.parametrize(("change", "text"), [
    (lambda data: data.update(schema="transport-bench/0"), "transport-bench/0"),
    (lambda data: data.pop("environment"), "environment is missing"),
    (lambda data: data["rounds"][0].update(status="MAYBE"), r"\$\.rounds\[0\]\.status"),
    (lambda data: data["rounds"][0].update(block=-1), "below 0"),
    (lambda data: data["rounds"][0].update(flagged=0), "int is not boolean"),
    (lambda data: data["rounds"][0].update(block=True), "bool is not integer"),
    (lambda data: data["rounds"][0]["latency"].pop("p99_ns"), "p99_ns is missing"),
    (lambda data: data["cases"][0].update(placement="moon"), "none of"),
    (lambda data: data.update(rounds={}), "dict is not array"),
])  # fmt: skip
def test_a_wrong_result_is_refused_with_the_place(change: Any, text: str) -> None:
    with pytest.raises(schema.SchemaError, match=text):
        schema.validate(broken(change))


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("{")
    with pytest.raises(schema.SchemaError, match="no JSON"):
        schema.load(path)


def test_the_schema_uses_only_what_the_validator_knows() -> None:
    known = {"type", "required", "properties", "additionalProperties", "items", "enum", "const", "minimum"}
    notes = {"$schema", "title", "description"}

    def walk(part: dict[str, Any]) -> None:
        assert set(part) <= known | notes, part
        for inner in part.get("properties", {}).values():
            walk(inner)
        for name in ("items", "additionalProperties"):
            if name in part:
                walk(part[name])

    walk(schema.SCHEMA)
