"""When a client's socket looks for another address of its own, and when it takes it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from transport import limits
from transport.drive import roaming
from transport.drive.roaming import Roaming
from transport.machine import Path
from transport.net import datagram as net

REMOTE = ("127.0.0.1", 9)


class Sock:
    """What a roaming socket needs of a `DatagramSocket`."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.sock = None
        self.path: Path | None = Path((host, 1000), REMOTE)
        self.is_open = True

    def fileno(self) -> int:
        return 7 if self.is_open else -1


class Driver:
    """Of such a socket."""

    def __init__(self) -> None:
        self.sock = Sock()
        self.time = 10 * limits.SECOND_NS
        self.woken = 0

    def now(self) -> int:
        return self.time

    def wake(self) -> None:
        self.woken += 1


class Bench:
    """Everything around a `Roaming`, with a system that says what a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source: Any = ("127.0.0.1", 2000)
        self.fails = False
        self.asked = 0
        self.told: list[Path] = []
        self.driver: Any = Driver()
        self.roaming = Roaming(REMOTE, lambda path, now: self.told.append(path))
        monkeypatch.setattr(roaming.net, "source_for", self.source_for)
        monkeypatch.setattr(roaming.net, "reconnect", self.reconnect)

    def source_for(self, remote: Any) -> Any:
        assert remote == REMOTE
        self.asked += 1
        return self.source

    def reconnect(self, sock: Any, remote: Any) -> Any:
        if self.fails:
            raise OSError("no way there")
        return (self.source[0], 3000)

    def trouble(self, later_ns: int = limits.RUDP_ROAM_NS) -> None:
        self.driver.time += later_ns
        self.roaming(self.driver)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_the_address_that_the_system_prefers_stays(bench: Bench) -> None:
    bench.trouble()
    assert bench.asked == 1
    assert not bench.told


def test_another_address_is_taken(bench: Bench) -> None:
    bench.source = ("127.0.0.2", 2000)
    bench.trouble()
    assert bench.told == [Path(("127.0.0.2", 3000), REMOTE)]
    assert bench.driver.sock.path is bench.told[0]
    assert bench.driver.woken == 1
    assert bench.roaming.moves == 1
    bench.trouble()
    assert len(bench.told) == 1


def test_it_looks_five_times_a_second(bench: Bench) -> None:
    bench.trouble()
    for _ in range(100):
        bench.trouble(limits.RUDP_ROAM_NS // 50)
    assert bench.asked == 3


def test_no_way_out_is_asked_again(bench: Bench) -> None:
    bench.source = None
    bench.trouble()
    assert not bench.told
    bench.source = ("127.0.0.2", 2000)
    bench.trouble()
    assert len(bench.told) == 1


def test_a_socket_that_was_cut_is_connected_again_to_the_same(bench: Bench) -> None:
    bench.source = ("127.0.0.2", 2000)
    bench.fails = True
    bench.trouble()
    assert bench.roaming.moves == 0
    bench.fails = False
    bench.source = ("127.0.0.1", 2000)  # the old address is back
    bench.trouble()
    assert bench.told == [Path(("127.0.0.1", 3000), REMOTE)]
    bench.trouble()
    assert len(bench.told) == 1


def test_a_closed_socket_is_left_alone(bench: Bench) -> None:
    bench.driver.sock.is_open = False
    bench.source = ("127.0.0.2", 2000)
    bench.trouble()
    assert not bench.asked


def test_the_system_s_choice() -> None:
    found = net.source_for(("127.0.0.1", 9))
    assert found is not None
    assert found[0] == "127.0.0.1"
    assert net.source_for(("255.255.255.255", 9)) is None


@pytest.mark.linux
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_is_connected_anew(host: str) -> None:
    """What has come stays, and what is sent comes from the new port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
        server.bind((host, 0))
        server.settimeout(5)
        client.settimeout(5)
        client.connect(server.getsockname())
        before = client.getsockname()
        server.sendto(b"early", before)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
        size = client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        after = net.reconnect(client, server.getsockname())
        assert after == client.getsockname()
        assert after[0] == before[0]
        assert client.recv(100) == b"early"
        client.send(b"x")
        assert server.recvfrom(100)[1] == after
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == size
