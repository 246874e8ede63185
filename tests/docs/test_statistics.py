"""The guide to the statistics names what there is, all of it, and nothing else."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

import pytest

import transport
from tests.meta import tree
from transport.drive.records import Statistics
from transport.machine import Path
from transport.rudp import report
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.seeds import entropy

TEXT = (tree.ROOT / "docs" / "guides" / "statistics.md").read_text(encoding="utf-8")


def named(begin: str, end: str) -> set[str]:
    """Names in the first column of the tables between two headings."""
    part = TEXT[TEXT.index(f"\n## {begin}\n") : TEXT.index(f"\n## {end}\n")]
    first = re.findall(r"^\| (`.*?) \|", part, re.M)
    return {name for cell in first for name in re.findall(r"`(\w+)`", cell)}


def endpoint() -> RudpEndpoint:
    return RudpEndpoint(RudpConfig(), entropy(7, "statistics"), True)


def test_sessions() -> None:
    session = endpoint().connect(Path(None, ("192.0.2.1", 1)), 1)
    session.send(b"x", 3, 0, 0, 0, 1)
    there = {re.sub(r"^channel_\d+_", "channel_N_", name) for name in session.statistics()}
    assert named("Reliable UDP", "A server of reliable UDP") == there


def test_the_source_has_no_other_names() -> None:
    source = inspect.getsource(report)
    assert set(re.findall(r'^        "(\w+)":', source, re.M)) <= named("Reliable UDP", "A server of reliable UDP")


def test_servers() -> None:
    assert named("A server of reliable UDP", "A server of WebSocket") == set(endpoint().statistics())


@pytest.mark.asyncio
async def test_websocket() -> None:
    pytest.importorskip("h11")

    async def handler(conn: transport.Connection) -> None:
        async for message in conn:
            await conn.send(message)

    async with transport.serve("ws://127.0.0.1:0", handler) as server, transport.connect(server.url) as conn:
        await conn.send(1)
        assert await conn.recv() == 1
        there = {re.sub(r"_\d+$", "_N", name) for name in server.statistics().counters}
        assert named("A server of WebSocket", "A connection of WebSocket") == there | {"http_N", "close_N"}
        assert named("A connection of WebSocket", "Three questions") == set(conn.statistics().counters)


def test_every_connection() -> None:
    assert named("Every connection", "Reliable UDP") == {field.name for field in fields(Statistics)} - {"counters"}


def test_the_prose_names_what_there_is() -> None:
    prose = TEXT[TEXT.index("\n## Three questions\n") :]
    assert set(re.findall(r"`(\w+)`", prose)) <= set(endpoint().connect(Path(None, ("192.0.2.1", 1)), 1).statistics())
