"""`rudp://` between network namespaces: a NAT that gives another port ten times a second, a host whose address goes.

These need root and the command `ip`, and are skipped without. Every namespace is this test's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.meta.tree import ROOT


def why_not() -> str:
    """What keeps these tests from running; empty for nothing."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid():
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "there is no command `ip` to make network namespaces with"
    probe = f"transport-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces can't be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return ""


pytestmark = [pytest.mark.slow, pytest.mark.linux, pytest.mark.timeout(60)]
SERVER = "10.77.9.9"


class Lab:
    """Namespaces joined by cables, and processes in them."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.running: list[subprocess.Popen[str]] = []

    def ip(self, place: str, command: str) -> None:
        subprocess.run(["ip", "-n", self.names[place], *command.split()], check=True, capture_output=True)

    def add(self, *places: str) -> None:
        for place in places:
            self.names[place] = f"transport-{place}-{os.getpid()}"
            subprocess.run(["ip", "netns", "add", self.names[place]], check=True)
            self.ip(place, "link set lo up")

    def cable(self, one: str, other: str) -> None:
        """An Ethernet cable; its ends bear the name of the place at the other end."""
        self.ip(one, f"link add {other} type veth peer name {one} netns {self.names[other]}")
        self.ip(one, f"link set {other} up")
        self.ip(other, f"link set {one} up")

    def run(self, place: str, *arguments: Any) -> subprocess.Popen[str]:
        """Starts `python -m ARGUMENTS` there."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.names[place], sys.executable, "-m", *map(str, arguments)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.running.append(process)
        return process

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.communicate()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def lab() -> Iterator[Lab]:
    if why := why_not():
        pytest.skip(why)
    made = Lab()
    try:
        yield made
    finally:
        made.close()


def begins(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Waits until it serves."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def outcome(process: subprocess.Popen[str], at_batch: Callable[[int], None]) -> list[str]:
    """What a load says at its end; `at_batch` is called at the beginning of each batch with the moves seen so far."""
    assert process.stdout is not None
    for line in process.stdout:
        word, seen, *_ = line.split()
        if word != "batch":
            assert process.wait() == 0
            return line.split()
        at_batch(int(seen))
    raise AssertionError("the load has failed, see its error output")


def test_a_nat_that_gives_another_port_ten_times_a_second(lab: Lab) -> None:
    """Both ways under load; an old port leads to the client for a second more, as through a NAT."""
    lab.add("client", "nat", "server")
    lab.cable("client", "nat")
    lab.cable("nat", "server")
    lab.ip("client", "addr add 10.77.1.1/24 dev nat")
    lab.ip("nat", "addr add 10.77.1.2/24 dev client")
    lab.ip("nat", "addr add 10.77.9.1/24 dev server")
    lab.ip("server", f"addr add {SERVER}/24 dev nat")
    begins(lab.run("server", "tests.rudp.roamer", "serve", f"rudp://{SERVER}:7000"))
    begins(lab.run("nat", "tests.rudp.relay", "10.77.1.2", 7000, SERVER, 7000, 0.1))
    load = lab.run("client", "tests.rudp.roamer", "load", "rudp://10.77.1.2:7000", 20)
    _, moves, address = outcome(load, lambda count: None)
    assert int(moves) >= 20
    assert address == "10.77.1.1"


def test_a_host_whose_address_changes(lab: Lab) -> None:
    """Its address goes away under load, and another comes, by which the server can be reached."""
    lab.add("client", "server")
    lab.cable("client", "server")
    for net in (1, 2):
        lab.ip("server", f"addr add 10.77.{net}.2/24 dev client")
    lab.ip("server", f"addr add {SERVER}/32 dev lo")

    changes = 0

    def arrive() -> None:
        lab.ip("client", f"addr add 10.77.{1 + changes % 2}.1/24 dev server")
        lab.ip("client", f"route add default via 10.77.{1 + changes % 2}.2")

    def change(seen: int) -> None:
        nonlocal changes
        if changes <= seen and changes < 3:
            lab.ip("client", f"addr del 10.77.{1 + changes % 2}.1/24 dev server")
            changes += 1
            arrive()

    arrive()
    begins(lab.run("server", "tests.rudp.roamer", "serve", f"rudp://{SERVER}:7000"))
    load = lab.run("client", "tests.rudp.roamer", "load", f"rudp://{SERVER}:7000", 3)
    _, moves, address = outcome(load, change)
    assert int(moves) >= 3
    assert address == "10.77.2.1"
