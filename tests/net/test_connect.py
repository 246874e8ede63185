"""Opening stream sockets: addresses raced, none left open, every reason told."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import LOOPS
from tests.drive.portable import PORTABLE_LOOPS
from transport import limits
from transport.errors import ConnectFailed
from transport.net import connect as net
from transport.net.connect import AddressInfo

EVERY_LOOP = {**LOOPS, **PORTABLE_LOOPS}
V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture(params=list(EVERY_LOOP.values()), ids=list(EVERY_LOOP))
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as made:
        yield made


def info(address: Any, family: int = V4) -> AddressInfo:
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)


@contextlib.contextmanager
def answering() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()


@contextlib.contextmanager
def refusing() -> Iterator[tuple[str, int]]:
    """An address that nobody listens on, and that nobody else can be given meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@contextlib.contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that never answers: Linux drops what comes to a listening socket whose queue is full."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield sock.getsockname()


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()


class Dialled:
    """Stands in for `_connect_one`: each address does what it is told to; notes the order and what was closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fates: dict[Any, Any]) -> None:
        self.fates = fates
        self.order: list[Any] = []
        self.cancelled: list[Any] = []
        self.made: list[socket.socket] = []
        monkeypatch.setattr(net, "_connect_one", self.connect)

    async def connect(self, address: AddressInfo, options: Any) -> socket.socket:
        target = address[4]
        self.order.append(target)
        fate = self.fates[target]
        if fate == "silent":
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled.append(target)
                raise
        if isinstance(fate, BaseException):
            raise fate
        self.made.append(socket.socket())
        return self.made[-1]


@pytest.mark.linux
def test_a_black_holed_first_address_costs_a_quarter_of_a_second_only(runner: asyncio.Runner) -> None:
    """By real sockets; a loop's own `create_connection` would wait for minutes."""

    async def main() -> None:
        with black_hole() as hole, answering() as good:
            before = descriptors()
            sock = await net.race([info(hole), info(good)], {})
            assert sock.getpeername() == good
            assert sock.gettimeout() == 0
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            sock.close()
            await asyncio.sleep(0)
            assert descriptors() == before

    runner.run(main())


def test_refusal_everywhere_lists_every_reason(runner: asyncio.Runner) -> None:
    async def main() -> None:
        with refusing() as one, refusing() as two:
            before = descriptors()
            with pytest.raises(ConnectFailed) as caught:
                await net.race([info(one), info(two)], {})
            text = str(caught.value)
            for host, port in (one, two):
                assert f"{host} port {port}: Connection refused" in text
            assert caught.value.errno == errno.ECONNREFUSED
            assert isinstance(caught.value, OSError)
            assert descriptors() == before

    runner.run(main())


@pytest.mark.asyncio
async def test_a_refusal_moves_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HAPPY_EYEBALLS_DELAY_S", 3600.0)
    with refusing() as bad, answering() as good:
        (await net.race([info(bad), info(good)], {})).close()


@pytest.mark.asyncio
async def test_the_next_is_tried_while_the_first_is_still_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HAPPY_EYEBALLS_DELAY_S", 0.001)
    dialled = Dialled(monkeypatch, {"a": "silent", "b": "silent", "c": None, "d": None})
    sock = await net.race([info(target) for target in "abcd"], {})
    assert dialled.order == ["a", "b", "c"]
    assert dialled.cancelled == ["a", "b"]
    assert dialled.made == [sock]
    sock.close()


@pytest.mark.asyncio
async def test_of_two_that_answer_one_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answers in the moment in which it is cancelled."""
    monkeypatch.setattr(limits, "HAPPY_EYEBALLS_DELAY_S", 0.001)
    late = asyncio.get_running_loop().create_future()
    made: list[socket.socket] = []

    async def connect(address: AddressInfo, options: Any) -> socket.socket:
        if address[4] == "a":
            with contextlib.suppress(asyncio.CancelledError):
                await late
        made.append(socket.socket())
        return made[-1]

    monkeypatch.setattr(net, "_connect_one", connect)
    sock = await net.race([info("a"), info("b")], {})
    assert made[0] is sock
    assert made[1].fileno() == -1
    sock.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("loser", ["silent", OSError(errno.EHOSTUNREACH, "x")])
async def test_cancellation_closes_every_socket(monkeypatch: pytest.MonkeyPatch, loser: Any) -> None:
    monkeypatch.setattr(limits, "HAPPY_EYEBALLS_DELAY_S", 0.001)
    dialled = Dialled(monkeypatch, {"a": "silent", "b": loser, "c": "silent"})
    task = asyncio.ensure_future(net.race([info(target) for target in "abc"], {}))
    while len(dialled.order) < 3:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert dialled.cancelled == (["a", "b", "c"] if loser == "silent" else ["a", "c"])
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_cancellation_while_the_losers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A winner that nobody will be given is closed, and so is a loser that connects against its orders."""
    monkeypatch.setattr(limits, "HAPPY_EYEBALLS_DELAY_S", 0.001)
    stubborn = asyncio.Event()
    made: list[socket.socket] = []

    async def connect(address: AddressInfo, options: Any) -> socket.socket:
        if address[4] == "a":
            for _ in range(2):
                with contextlib.suppress(asyncio.CancelledError):
                    await stubborn.wait()
        made.append(socket.socket())
        return made[-1]

    monkeypatch.setattr(net, "_connect_one", connect)
    task = asyncio.ensure_future(net.race([info("a"), info("b")], {}))
    while not made:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stubborn.set()
    while len(made) < 2:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [sock.fileno() for sock in made] == [-1, -1]


@pytest.mark.asyncio
async def test_a_mistake_is_not_taken_for_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = Dialled(monkeypatch, {"a": TypeError("mistake"), "b": None})
    with pytest.raises(TypeError, match="mistake"):
        await net.race([info("a"), info("b")], {})
    assert all(sock.fileno() == -1 for sock in dialled.made)


@pytest.mark.asyncio
async def test_no_address_at_all() -> None:
    with pytest.raises(ConnectFailed):
        await net.race([], {})


@pytest.mark.linux
@pytest.mark.asyncio
async def test_a_port_does_not_connect_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP opens a connection to the very port it came from, if the system happens to choose that one."""
    with refusing() as own:
        pass
    real = socket.socket

    class Bound(real):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.bind(own)

    before = descriptors()
    monkeypatch.setattr(net, "socket", SimpleNamespace(**{**vars(socket), "socket": Bound}))
    with pytest.raises(ConnectFailed, match="Connection refused"):
        await net.race([info(own)], {})
    assert descriptors() == before


def test_families_take_turns_beginning_with_the_first() -> None:
    six = [info((f"::{number}", 1, 0, 0), V6) for number in range(1, 5)]
    four = [info((f"127.0.0.{number}", 1)) for number in range(1, 3)]
    assert net.interleave([*six, *four]) == [six[0], four[0], six[1], four[1], six[2], six[3]]
    assert net.interleave([*four, *six])[:2] == [four[0], six[0]]
    assert net.interleave(four) == four
    assert net.interleave([]) == []


@pytest.mark.asyncio
async def test_a_name_with_many_addresses_is_cut_short_and_without_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [info((f"127.0.{number // 200}.{number % 200}", 80)) for number in range(500) for _ in range(2)]

    async def getaddrinfo(*_: Any, **__: Any) -> list[AddressInfo]:
        return found

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(net.asyncio, "get_running_loop", lambda: Fake())

    class Fake:
        def __getattr__(self, name: str) -> Any:
            return getaddrinfo if name == "getaddrinfo" else getattr(loop, name)

    addresses = await net.resolve("many.example", 80, socket.SOCK_STREAM)
    assert len(addresses) == len(set(addresses)) == limits.ADDRESSES_MAX
    found.clear()
    with pytest.raises(ConnectFailed, match="has no address"):
        await net.resolve("none.example", 80, socket.SOCK_STREAM)


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["name.invalid", "x" * 64 + ".example", "bad..name", "\udcff.example"])
async def test_a_name_that_does_not_resolve(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if host == "name.invalid":  # RFC 6761: never exists; the tests ask no name server

        def none(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", none)
    with pytest.raises(ConnectFailed, match="can't resolve"):
        await net.resolve(host, 80, socket.SOCK_STREAM)


@pytest.mark.asyncio
async def test_addresses_resolve_to_themselves_with_their_scope() -> None:
    assert [found[4] for found in await net.resolve("127.0.0.1", 80, socket.SOCK_STREAM)] == [("127.0.0.1", 80)]
    if not socket.has_ipv6:
        pytest.skip("this Python knows no IPv6")
    (found,) = await net.resolve("::1", 80, socket.SOCK_STREAM)
    assert found[4][:2] == ("::1", 80)
    index, name = socket.if_nameindex()[0]
    for scope in (name, str(index)):
        (found,) = await net.resolve(f"fe80::1%{scope}", 80, socket.SOCK_STREAM)
        assert found[4][3] == index


def has_ipv6() -> bool:
    try:
        with socket.socket(V6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@needs_ipv6
@pytest.mark.asyncio
async def test_both_families_of_a_server_share_one_port() -> None:
    """And the first family to answer carries the connection."""
    from transport.api import connect, serve

    async with serve("tcp://localhost:0") as server, connect(server.url) as conn:
        assert conn.remote_address[1] == server.url.port
        for host in ("127.0.0.1", "[::1]"):
            try:
                async with connect(f"tcp://{host}:{server.url.port}"):
                    pass
            except ConnectFailed:
                known = {found[4][0] for found in await net.resolve("localhost", 1, socket.SOCK_STREAM)}
                assert host.strip("[]") not in known


@needs_ipv6
@pytest.mark.asyncio
async def test_a_scoped_address_connects() -> None:
    from transport.api import connect, serve

    table = Path("/proc/net/if_inet6")
    addresses = [line.split() for line in table.read_text().splitlines()] if table.exists() else []
    local = [(row[0], row[5]) for row in addresses if row[0].startswith("fe80") and not int(row[4], 16) & 0x40]
    if not local:
        pytest.skip("no interface with a link-local address")
    digits, interface = local[0]
    address = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
    async with serve(f"tcp://[{address}%{interface}]:0") as server, connect(server.url) as conn:
        assert conn.remote_address[3] == socket.if_nametoindex(interface)


@pytest.mark.linux
def test_options_reach_the_socket() -> None:
    options = {"rcvbuf": 65536, "sndbuf": 32768, "dscp": 46, "nodelay": False, "busy_poll_us": 0}
    with socket.socket() as sock:
        net.apply_options(sock, options)
        assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 65536
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 32768
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2
    with socket.socket(socket.AF_UNIX) as sock:
        net.apply_options(sock, options)


@needs_ipv6
@pytest.mark.linux
def test_options_reach_an_ipv6_socket() -> None:
    with net.bind(V6, ("::1", 0), {"dscp": 10, "reuse_port": True}) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 40
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    with net.bind(V6, ("::", 0), {"ipv6_only": False}) as sock:
        assert not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        socket.create_connection(("127.0.0.1", sock.getsockname()[1])).close()


def test_a_port_that_is_taken_leaves_no_socket_open() -> None:
    with answering() as taken:
        before = descriptors()
        with pytest.raises(OSError, match="in use"):
            net.bind(V4, taken, {})
        assert descriptors() == before
