"""Every promise of the contract, kept by every scheme on every loop that can carry it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.conftest import LOOPS
from tests.drive.portable import PORTABLE_LOOPS
from transport import testing
from transport.contract.base import Arena, Check
from transport.net import datagram, stream

NUMBERS = itertools.count()
LOSSY = "loss=0.05&delay=2ms&jitter=2ms&reorder=0.05&reorder_delay=3ms&seed=7"
LINK = "delay=3ms&jitter=2ms&rate=200mbit"
EVERY_LOOP: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    **LOOPS,
    **PORTABLE_LOOPS,
    "simulated": testing.SimLoop,
}

REAL = tuple(LOOPS)
PORTABLE = tuple(PORTABLE_LOOPS)
FAST = REAL[-1:]
MATRIX: dict[str, tuple[str, ...]] = {
    "tcp": REAL + PORTABLE,
    "tls": REAL,
    "ws": REAL + PORTABLE,
    "ws-compressed": FAST,
    "wss": REAL,
    "unix": REAL + PORTABLE[:1],
    "udp": REAL + PORTABLE,
    "rudp": REAL + PORTABLE,
    "memory": (*REAL, "simulated"),
    "memory-link": ("simulated",),
    "memory-lossy": (*FAST, "simulated"),
    "memory-rudp": (*FAST, "simulated"),
    "tcp-length32": FAST,
    "unix-length32": REAL[:1],
    "memory-length32": ("simulated",),
    "tcp-without-native": REAL,
    "ws-without-native": FAST,
    "udp-without-native": REAL,
    "rudp-without-native": REAL,
}
"""Ways to run the suite, and the loops for each."""


def _memory(query: str = "") -> Callable[[], str]:
    return lambda: f"memory://contract-{next(NUMBERS)}{query}"


ARENAS: dict[str, Arena] = {
    "tcp": Arena(lambda: "tcp://127.0.0.1:0"),
    "tls": Arena(lambda: "tls://127.0.0.1:0"),
    "ws": Arena(lambda: "ws://127.0.0.1:0", dialect=None),
    "wss": Arena(lambda: "wss://127.0.0.1:0/path", dialect=None),
    "udp": Arena(lambda: "udp://127.0.0.1:0"),
    "rudp": Arena(lambda: "rudp://127.0.0.1:0", dialect=None),
    "unix": Arena(lambda: "unix:///"),
    "memory": Arena(_memory()),
    "memory-link": Arena(_memory(f"?{LINK}")),
    "memory-lossy": Arena(_memory(f"?{LOSSY}")),
    "memory-rudp": Arena(_memory(f"?{LOSSY}&rudp=true"), dialect=None),
}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(authority, certificate with key), as files."""
    folder = tmp_path_factory.mktemp("contract")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    return str(folder / "ca.pem"), str(folder / "server.pem")


@pytest.fixture
def arena(way: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Arena:
    scheme, _, variant = way.partition("-")
    found = ARENAS.get(way, ARENAS[scheme])
    if scheme == "unix":
        folder: Path = request.getfixturevalue("tmp_path")
        found = replace(found, url_factory=lambda: f"unix://{folder}/{next(NUMBERS)}")
    elif scheme in ("tls", "wss"):
        authority, certificate = request.getfixturevalue("certificate")
        found = replace(found, server_options={"certfile": certificate}, client_options={"cafile": authority})
    if variant == "compressed":
        found = replace(found, options={"compression": True, "fragment": 1000, "compress_above": 16_385})
    elif variant == "length32":
        found = replace(found, options={"framing": "length32"})
    elif variant == "without-native":
        monkeypatch.setattr(datagram, "NativeDatagramSocket", None)
        monkeypatch.setattr(stream, "stream_socket", stream.PortableStreamSocket)
    return found


def _cases() -> list[Any]:
    return [
        pytest.param(way, loop, check, id=f"{way}-{loop}-{check.name}")
        for way, loops in MATRIX.items()
        for loop in loops
        for check in testing.contract_checks()
    ]


@pytest.mark.parametrize(("way", "loop", "check"), _cases())
def test_promise(arena: Arena, loop: str, check: Check) -> None:
    with asyncio.Runner(loop_factory=EVERY_LOOP[loop]) as runner:
        runner.run(check.run(arena))
