"""Reading traces: ours, other programs', damaged ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.rudp.test_trace import Kept
from tests.sight.talk import rich
from transport.rudp import dissect
from transport.sight import sqlog
from transport.sight.sqlog import BadTrace, Event, TraceFile, frame_text, summary

HEADER = {"qlog_version": "0.3", "qlog_format": "JSON-SEQ", "trace": {"vantage_point": {"type": "server"}}}


def sequence(*records: Any) -> bytes:
    return b"".join([b"\x1e" + json.dumps(record).encode() + b"\n" for record in records])


def opened(data: bytes, tmp_path: Path) -> TraceFile:
    path = tmp_path / "x.sqlog"
    path.write_bytes(data)
    return TraceFile(path)


def test_every_event_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    rich(trace=kept)
    monkeypatch.setattr(sqlog, "READ_BYTES", 100)  # records in many pieces
    for side in ("client", "server"):
        (data,) = [data for name, data in kept.data.items() if name.endswith(side)]
        file = opened(data, tmp_path)
        assert file.vantage == side
        events = list(file.events())
        assert file.passed_over == 0
        assert [(event.at_ms, event.name, event.data) for event in events] == [
            (event["time"], event["name"], event["data"]) for event in kept.events(side)
        ]
        assert all(summary(event) for event in events)
        assert list(file.events()) == events


def test_other_programs_and_absolute_times(tmp_path: Path) -> None:
    header = {"file_schema": "urn:ietf:params:qlog:file:sequential",
              "trace": {"common_fields": {"time_format": "absolute"}}}  # fmt: skip
    data = sequence(header, {"time": 1000.5, "name": "quic:packet_sent", "data": {"header": {"packet_number": 3}}},
                    {"time": 1002, "name": "quic:packet_lost"})  # fmt: skip
    file = opened(data, tmp_path)
    events = list(file.events())
    assert [(event.at_ms, event.kind, event.number, event.size) for event in events] == [
        (0.0, "packet_sent", 3, 0), (1.5, "packet_lost", None, 0),
    ]  # fmt: skip
    assert file.vantage == ""


@pytest.mark.parametrize("data", [
    b"", b"{}", b"\x1e", b"\x1ehello\n", sequence([]), sequence({"time": 1}), b"\x1e[" * 100_000,
])  # fmt: skip
def test_what_is_no_trace(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match=r"^x\.sqlog "):
        opened(data, tmp_path)


def test_damaged_records_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"time": 1, "name": "a:b", "data": {}}
    wrong = [[], 7, {"time": "1", "name": "a:b"}, {"time": True, "name": "a:b"}, {"time": 1, "name": 5}, {"time": 1}]
    data = sequence(HEADER, *wrong, good) + b'\x1e{"time"\n' + sequence({**good, "data": 3}, good)[:-9]
    file = opened(data, tmp_path)
    assert [(event.name, event.data) for event in file.events()] == [("a:b", {}), ("a:b", {})]
    assert file.passed_over == len(wrong) + 2
    monkeypatch.setattr(sqlog, "RECORD_MAX", 200)
    monkeypatch.setattr(sqlog, "READ_BYTES", 64)
    file = opened(sequence(HEADER, {**good, "data": {"x": "y" * 1000}}, good), tmp_path)
    assert [event.data for event in file.events()] == [{}]
    assert file.passed_over == 1


def test_in_few_words() -> None:
    sent = Event(1.0, "transport:packet_sent", {
        "header": {"packet_type": "1RTT", "packet_number": 7}, "raw": {"length": 44},
        "frames": [{"frame_type": "ack", "ack_delay": 0.5, "acked_ranges": [[1], [3, 4], [6, 6]]}, "odd",
                   {"frame_type": "message", "channel": 2, "length": 5}],
    })  # fmt: skip
    assert summary(sent) == "1RTT 7, 44 bytes: ack 1 3-4 6; message 2 5"
    assert summary(Event(1.0, "x", {"a": 1.23456789, "b": "text", "c": list(range(100))})).startswith(
        "a 1.23457, b text, c [0,1,2,"
    )
    assert summary(Event(1.0, "x", {"header": 5})) == ""
    assert frame_text({"frame_type": "ack", "acked_ranges": 3}) == "ack 3"
    assert frame_text({}) == "None"


def test_every_frame_of_ours_has_its_name() -> None:
    assert set(sqlog.FRAME_TYPES) == set(dissect.FRAMES)


def test_random_files_never_crash(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    kept = Kept()
    rich(trace=kept)
    real = next(iter(kept.data.values()))[:20_000]
    read = 0
    for _ in range(60):
        changed = bytearray(real)
        for _ in range(rng.randrange(1, 200)):
            changed[rng.randrange(len(changed))] = rng.choice([rng.getrandbits(8), 0x1E, 0x7B])
        try:
            file = opened(bytes(changed), tmp_path)
        except BadTrace:
            continue
        for event in file.events():
            assert isinstance(summary(event), str)
            assert event.size >= 0 or event.size < 0
            read += 1
    assert read > 0
