"""Which transport serves a scheme: our own, those registered by hand, those of installed packages."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import Any

import pytest

from tests.meta.tree import ROOT
from transport.api import connect, serve
from transport.errors import ConnectFailed, UnknownScheme
from transport.transports.base import Transport
from transport.transports.registry import ENTRY_POINT_GROUP, OWN, Registry


class Nowhere:
    """A transport of a third party."""

    scheme = "nowhere"
    options: dict[str, Any] = {}

    def traits(self, request: Any) -> Any:
        raise AssertionError

    async def connect(self, request: Any) -> Any:
        raise ConnectFailed(f"{request.url.scheme} is never there")

    async def listen(self, request: Any) -> Any:
        raise OSError("nor here")


class Entry:
    """An entry point of an installed package."""

    def __init__(self, loads: Any) -> None:
        self._loads = loads
        self.loaded = 0

    def load(self) -> Any:
        self.loaded += 1
        return self._loads


@pytest.mark.parametrize("scheme", OWN)
def test_our_own_schemes(scheme: str) -> None:
    registry = Registry.default()
    found = registry.find(scheme)
    assert isinstance(found, Transport)
    assert found.scheme == scheme
    assert registry.find(scheme) is found


def test_a_registry_lists_its_schemes_in_order() -> None:
    assert list(Registry.default()) == sorted(OWN)
    assert list(Registry()) == []


def test_a_scheme_nobody_serves() -> None:
    with pytest.raises(UnknownScheme, match="no transport for gopher://; known: memory, rudp, tcp, tls, udp, unix"):
        Registry.default().find("gopher")


def test_registering_gives_another_registry_and_leaves_the_first() -> None:
    first = Registry.default()
    mine = Nowhere()
    second = first.register(mine)
    assert second.find("nowhere") is mine
    assert list(second) == sorted([*OWN, "nowhere"])
    with pytest.raises(UnknownScheme):
        first.find("nowhere")
    assert list(first) == sorted(OWN)


def test_our_own_scheme_can_be_replaced() -> None:
    class Tcp(Nowhere):
        scheme = "tcp"

    mine = Tcp()
    assert Registry.default().register(mine).find("tcp") is mine
    assert Registry.default().find("tcp") is not mine


def test_a_value_given_to_a_registry_is_copied() -> None:
    table: dict[str, Any] = {"nowhere": Nowhere()}
    registry = Registry(table)
    table.clear()
    assert registry.find("nowhere").scheme == "nowhere"


@pytest.mark.parametrize("missing", ["options", "traits", "connect", "listen"])
def test_what_is_no_transport_is_refused(missing: str) -> None:
    members: dict[str, Any] = {name: getattr(Nowhere, name) for name in ("options", "traits", "connect", "listen")}
    del members[missing]
    broken = type("Broken", (), {"scheme": "broken", **members})()
    with pytest.raises(TypeError, match=f"Broken is no transport: it lacks {missing}"):
        Registry().register(broken)


def test_an_installed_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Nowhere()
    entry = Entry(mine)
    asked = []

    def entry_points(*, group: str, name: str) -> list[Entry]:
        asked.append((group, name))
        return [entry] if name == "nowhere" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    registry = Registry.default()
    assert registry.find("nowhere") is mine
    assert registry.find("nowhere") is mine
    assert entry.loaded == 1
    assert asked == [(ENTRY_POINT_GROUP, "nowhere")]
    assert "nowhere" in list(registry)
    with pytest.raises(UnknownScheme):
        registry.find("elsewhere")
    registry.find("tcp")  # ours are never looked up among the installed
    assert asked[1:] == [(ENTRY_POINT_GROUP, "elsewhere")]


@pytest.mark.asyncio
async def test_serve_and_connect_use_the_registry_that_they_are_given() -> None:
    registry = Registry.default().register(Nowhere())
    with pytest.raises(ConnectFailed, match="nowhere is never there"):
        await connect("nowhere://host:1", registry=registry)
    with pytest.raises(OSError, match="nor here"):
        await serve("nowhere://host:1", registry=registry)
    for call in (serve, connect):
        with pytest.raises(UnknownScheme):
            await call("nowhere://host:1")
        with pytest.raises(UnknownScheme, match="known: $"):
            await call("tcp://127.0.0.1:0", registry=Registry())


def test_only_what_is_used_is_imported() -> None:
    """A program that speaks tcp pays for nothing else."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import transport\n"
        "print([name for name in sys.modules if name.startswith('transport.transports.')])\n"
        "from transport.transports.registry import Registry\n"
        "Registry.default().find('tcp')\n"
        f"print([name for name in {list(OWN)!r} if 'transport.transports.' + name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=True)
    first, second = ended.stdout.splitlines()
    assert not set(OWN) & {name.rpartition(".")[2] for name in first.split("'")}
    assert second == "['tcp']"
