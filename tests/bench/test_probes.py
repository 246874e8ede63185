"""The probes, short: they start, measure, and say why when they can't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import bars
from bench.probes import connections, eventlog, imports, slow_reader, where


def nothing(_what: str) -> None:
    pass


def by_id(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {bar["id"]: bar for bar in found}


def test_import_time() -> None:
    ticks: list[str] = []
    found, seen = imports.run(ticks.append, runs=2)
    assert set(by_id(found)) == {"import-time", "import-time-used"}
    assert all(bar["n"] == 2 and bar["value"] > 0 for bar in found)
    assert len(seen["milliseconds"]) == len(ticks) == 2


def test_import_time_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "CODE", "import no_such_module_anywhere")
    found, _ = imports.run(nothing, runs=1)
    assert {bar["verdict"] for bar in found} == {bars.NOT_MEASURED}
    assert "no_such_module_anywhere" in found[0]["why"]


@pytest.mark.slow  # three pairs of processes, one second of rest each
def test_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WARM", 10)
    monkeypatch.setattr(connections, "SETTLE_S", 0.05)
    found, seen = connections.run(nothing, count=30)
    for style in connections.STYLES:
        bar = by_id(found)[f"memory-{style}"]
        assert bar["value"] is not None, bar["why"]
        assert seen[style]["full"]["connections"] == 30


def test_connections_without_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "raise_descriptors", lambda _count: 10)
    found, _ = connections.run(nothing, count=30)
    assert {bar["verdict"] for bar in found} == {bars.NOT_MEASURED, bars.INFORMATION}
    assert "only 10 descriptors" in found[0]["why"]


@pytest.mark.slow  # it has to run for a while to see anything
def test_slow_reader() -> None:
    found, seen = slow_reader.run(nothing, seconds=2.0)
    for style in slow_reader.STYLES:
        bar = by_id(found)[f"slow-reader-{style}"]
        assert bar["value"] is not None, bar["why"]
        assert seen[f"{style}/sender"]["messages"] > seen[f"{style}/reader"]["messages"] > 0


def test_a_slow_reader_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_reader, "__name__", "tests.bench.no_such_worker")
    found, seen = slow_reader.run(nothing, seconds=1.0)
    assert {bar["verdict"] for bar in found} == {bars.NOT_MEASURED}
    assert seen == {}


CALLGRIND = """\
# callgrind format
events: Ir
ob=(1) /x/transport/rudp/sending.so
fl=(1) sending.c
fn=(1) build
10 100
+2 5
cob=(2) /lib/libc.so.6
cfn=(2) memcpy
calls=3 0
* 70
+1 7
ob=(2)
fn=(2)
1 70
"""


def test_instructions_are_counted_where_they_are_spent(tmp_path: Path) -> None:
    file = tmp_path / "callgrind.out"
    file.write_text(CALLGRIND)
    assert where.profile(file) == {("/x/transport/rudp/sending.so", "build"): 112, ("/lib/libc.so.6", "memcpy"): 70}
    assert where.part_of("/x/transport/rudp/sending.so") == "reliable UDP, compiled"
    assert where.part_of("/lib/libc.so.6") == "C library"
    assert where.part_of("/usr/lib/libpython3.11.so") == "Python"


@pytest.mark.parametrize(
    ("scheme", "load"), [("rudp", "roundtrip"), ("rudp", "bulk"), ("tcp", "bulk"), ("bare", "bulk")]
)
def test_a_run_of_each_load(scheme: str, load: str) -> None:
    found = where.child(scheme, load, 64, 50, {})
    assert found["wall"] > 0 and found["user"] >= 0 and found["kernel"] >= 0
    assert found["packets"] > 0 or scheme != "rudp"


def test_a_tool_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit, match="valgrind"):
        where.main(["instructions"])


def test_log(tmp_path: Path) -> None:
    found, seen = eventlog.run(nothing, rounds=1, seconds=0.2, place=tmp_path)
    rows = by_id(found)
    assert len(rows) == 1 + len(eventlog.KINDS) * len(eventlog.MEASURES)
    assert {row["verdict"] for row in found} == {bars.INFORMATION}
    assert all(row["value"] > 0 and row["n"] == 1 for row in found)
    assert set(seen) == {"device"} | {name.removeprefix("log-") for name in rows}
    assert not list(tmp_path.iterdir())
