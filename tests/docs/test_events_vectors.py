"""Every vector of docs/events-protocol.md: read by a decoder that knows only the page, and written by the package."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from tests.meta import tree
from transport import limits
from transport.events import envelope
from transport.events.envelope import Claim, Kind

PAGE = (tree.ROOT / "docs" / "events-protocol.md").read_text(encoding="utf-8")


def rows(first: str) -> list[list[str]]:
    """The rows of every table whose head begins so."""
    found: list[list[str]] = []
    inside = False
    for line in PAGE.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first:
            inside = True
        elif inside and not set(line) <= set("|-"):
            found.append(cells)
    return found


KINDS = {cells[0]: cells for first in ("from the client", "from the server") for cells in rows(first)}
VECTORS = [(bytes.fromhex(cells[0]), json.loads(cells[1])) for cells in rows("bytes")]


def varint(data: bytes, at: int) -> tuple[int, int]:
    size = (1, 2, 4, 8)[data[at] // 64]
    return int.from_bytes(bytes([data[at] % 64]) + data[at + 1 : at + size], "big"), at + size


def shown(value: Any) -> Any:
    """As JSON writes it on the page."""
    if isinstance(value, bytes):
        return "hex:" + value.hex()
    if isinstance(value, list):
        return [shown(one) for one in value]
    if isinstance(value, dict):
        return {key: shown(one) for key, one in value.items()}
    return value


def decoded(data: bytes) -> dict[str, Any]:
    """A frame by the page's tables."""
    kind, cells = next((kind, cells) for kind, cells in KINDS.items() if int(cells[1], 16) == data[0])
    header = []
    at = 1
    for name in filter(None, cells[2].replace(" (byte, 0 or 1)", "(byte)").replace(" (byte)", "(byte)").split(", ")):
        if name.endswith("(byte)"):
            number, at = data[at], at + 1
        else:
            number, at = varint(data, at)
        header.append(number)
    found: dict[str, Any] = {"kind": kind, "header": header}
    if cells[3] == "none":
        assert at == len(data)
    else:
        found["body"] = shown(msgpack.unpackb(data[at:]))
    return found


def meant(value: Any) -> Any:
    """The opposite of `shown`."""
    if isinstance(value, str) and value.startswith("hex:"):
        return bytes.fromhex(value[4:])
    if isinstance(value, list):
        return [meant(one) for one in value]
    if isinstance(value, dict):
        return {key: meant(one) for key, one in value.items()}
    return value


def written(kind: str, header: list[int], body: Any) -> bytes:
    """The frame as the package writes it."""
    if kind in {"HELLO", "WELCOME", "REFUSED"}:
        body = dict(body)
        body.pop("v", None)
        if kind == "HELLO":
            return envelope.hello(envelope.Hello(claims=body.pop("streams"), **body))
        if kind == "WELCOME":
            return envelope.welcome(envelope.Welcome(**body))
        return envelope.refused(**body)
    if kind == "JOIN":
        return envelope.join(header[0], body[0], body[1], None if body[2] is None else Claim(*body[2]))
    if kind == "MESSAGE":
        return envelope.message(header[0], header[1], bool(header[2]), envelope.payload(*body))
    if kind == "JOINED":
        return envelope.joined(envelope.Joined(header[0], header[1], bool(header[2]), *body))
    if kind in {"EVENT", "REPLAYED"}:
        alias, offset, step = header
        return envelope.event(alias, offset, step, envelope.payload(*body), replay=kind == "REPLAYED")
    if kind in {"VOLATILE", "CALL"}:
        return getattr(envelope, kind.lower())(*header, envelope.payload(*body))
    if kind == "GAP":
        alias, why, policy, offset = header
        return envelope.gap(envelope.Gap(alias, envelope.Why(why), envelope.Policy(policy), offset, *body))
    if kind == "REPLY":
        return envelope.reply(header[0], envelope.result(bool(header[1]), body))
    if kind == "CONTINUE":
        return envelope.go_on(*header)
    if kind in {"LEAVE", "LEFT"}:
        return getattr(envelope, kind.lower())(*header, *body)
    if kind == "ANSWER":
        return envelope.answer(header[0], bool(header[1]), body)
    return getattr(envelope, kind.lower())(*header)


@pytest.mark.parametrize(("data", "meaning"), VECTORS, ids=[f"{one['kind']}-{data[:6].hex()}" for data, one in VECTORS])
def test_vector(data: bytes, meaning: dict[str, Any]) -> None:
    assert decoded(data) == meaning
    assert written(meaning["kind"], meaning["header"], meant(meaning.get("body"))) == data


def test_every_kind_is_on_the_page() -> None:
    assert {name: int(cells[1], 16) for name, cells in KINDS.items()} == {kind.name: kind.value for kind in Kind}
    assert {meaning["kind"] for _, meaning in VECTORS} == set(KINDS)


def test_reasons_and_bounds() -> None:
    assert {int(cells[0]): cells[1] for cells in rows("why")} == {why.value: why.name.lower() for why in envelope.Why}
    assert f"{limits.EVENTS_REPLAY_EVENTS:,} events or {limits.EVENTS_REPLAY_BYTES // limits.MIB} MiB" in PAGE
    assert f"`window` ({limits.EVENTS_WINDOW})" in PAGE
