"""What `transport.testing` offers, as its documentation shows it."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import transport
from tests.sim.machines import Retrier
from transport import testing


def test_every_name_is_there_and_documented():
    assert len(set(testing.__all__)) == len(testing.__all__)
    for name in testing.__all__:
        assert hasattr(testing, name), name
    tree = ast.parse(Path(testing.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    defined = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    public = {name for name in (imported | defined) - {"annotations"} if not name.startswith("_")}
    assert public == set(testing.__all__)


def test_it_is_an_attribute_of_the_package_and_costs_nothing_before():
    code = "import sys, transport; assert 'transport.testing' not in sys.modules; transport.testing.Pair; print('ok')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "ok\n"


def test_the_line_of_the_guide():
    pair = transport.testing.Pair(Retrier(3), Retrier(), transport.testing.SimNetwork(seed=7)).run()
    assert pair.a.events == ["done"]


def test_a_bad_network_in_a_test_of_milliseconds():
    config = testing.LinkConfig(delay_ns=100 * testing.MS_NS, loss=0.05)
    pair = testing.Pair(Retrier(100), Retrier(), testing.SimNetwork(seed=7, link=config))
    pair.call_later(0.15, lambda: pair.network.rebind(pair.network.port("a"), "after NAT rebinding"))
    pair.run()
    assert sorted(pair.b.machine.seen) == list(range(100))
    assert pair.a.events == ["done"]


def test_a_program_of_coroutines():
    async def main() -> float:
        async def slow(conn: transport.Connection) -> None:
            async for message in conn:
                await asyncio.sleep(3600)
                await conn.send(message)

        begin = asyncio.get_running_loop().time()
        async with transport.serve("memory://lab?delay=200ms", slow, keepalive=None) as server:
            async with transport.connect(server.url, keepalive=None) as conn:
                await conn.send("patience")
                assert await conn.recv() == "patience"
        return asyncio.get_running_loop().time() - begin

    assert testing.run(main(), seed=7) == pytest.approx(3600.4, abs=1.5)


def test_a_deadlock_is_found():
    async def main() -> None:
        async with transport.serve("memory://lab", keepalive=None, idle_timeout=None) as server:
            await server.accept()

    with pytest.raises(testing.Deadlock, match="Task-1 in "):
        testing.run(main())
