"""The commands as a person meets them: processes, signals, exit status, a terminal, a pipe that is closed, mistakes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta import tree
from tests.tools.running import COMMAND, finished, process, url_of


def first_line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    line = started.stdout.readline()
    assert line, started.communicate()
    return str(line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "arguments", [["echo", "tcp://127.0.0.1:0"], ["echo", "udp://127.0.0.1:0"], ["proxy", "udp://127.0.0.1:9"],
                  ["proxy", "tcp://127.0.0.1:9", "--delay", "1ms"]],
)  # fmt: skip
def test_a_signal_ends_with_the_summary(arguments: list[str], number: int) -> None:
    with process(*arguments, "-q") as started:
        first_line(started)
        started.send_signal(number)
        out, err = started.communicate()
    assert (started.returncode, err) == (0, "")
    assert "connection" in out or "up: 0 in" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_signal_ends_a_ping_with_the_summary(number: int) -> None:
    with process("echo", "tcp://127.0.0.1:0", "-q") as server:
        url = url_of(first_line(server))
        with process("ping", url) as ping:
            assert first_line(ping).startswith(f"PING {url}")
            assert first_line(ping).startswith("seq=0 time=")
            ping.send_signal(number)
            out, err = ping.communicate()
    assert (ping.returncode, err) == (0, "")
    assert "1 sent, 1 answered, 0 lost (0%)" in out
    assert "round trip min/avg/p50/p99/max/stddev = " in out


def test_a_signal_while_connecting() -> None:
    """Nobody answers: the address is a UDP socket that never does."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        with process("ping", f"rudp://127.0.0.1:{deaf.getsockname()[1]}") as ping:
            deaf.recv(2000)  # it is trying
            ping.send_signal(signal.SIGINT)
            out, err = ping.communicate()
    assert (ping.returncode, out, err) == (130, "", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["-c", "2", "-i", "1ms"], 0), (["-c", "2", "-i", "1ms", "--echo"], 0), (["-c", "1", "--json", "-q"], 0)],
)
def test_exit_status_of_ping(arguments: list[str], status: int) -> None:
    with process("echo", "rudp://127.0.0.1:0", "-q") as server:
        ran = finished("ping", url_of(first_line(server)), *arguments)
    assert (ran.returncode, ran.stderr) == (status, "")
    if "--json" in arguments:
        assert [json.loads(line)["event"] for line in ran.stdout.splitlines()] == ["connected", "summary"]


@pytest.mark.slow
def test_exit_status_of_a_ping_that_nobody_answers() -> None:
    with process("proxy", "udp://127.0.0.1:9", "-q") as proxy:
        url = url_of(first_line(proxy))
        ran = finished("ping", url, "-c", "2", "-i", "1ms", "-W", "50ms")
    assert ran.returncode == 1
    assert "2 sent, 0 answered, 2 lost (100%)" in ran.stdout


@pytest.mark.slow
def test_workers_share_a_port() -> None:
    with process("echo", "tcp://127.0.0.1:0", "--workers", "2", "--every", "50ms", "--json") as server:
        url = json.loads(first_line(server))["url"]
        ran = finished("ping", url, "--echo", "-c", "3", "-i", "5ms")
        while not (seen := json.loads(first_line(server)))["accepted"]:
            pass
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate()
    assert (ran.returncode, server.returncode, err) == (0, 0, "")
    assert seen["event"] == "interval" and "messages" not in seen
    assert json.loads(out.splitlines()[-1])["event"] == "summary"


MISTAKES = [
    (["ping"], "the following arguments are required: URL"),
    (["sing", "tcp://127.0.0.1:9"], "invalid choice: 'sing'"),
    (["ping", "nonsense"], "'nonsense' is no URL"),
    (["ping", "tcp://127.0.0.1"], "the port is missing"),
    (["ping", "tcp://127.0.0.1:1"], "Connection refused"),
    (["ping", "tcp://127.0.0.1:1", "-i", "0"], "argument -i/--interval: 0 seconds is not within"),
    (["ping", "tcp://127.0.0.1:1", "-c", "none"], "is not a whole number"),
    (["ping", "tcp://127.0.0.1:1", "--echo", "-s", "3"], "3 bytes is not within 16"),
    (["ping", "tcp://127.0.0.1:1", "--framing", "semaphore"], "semaphore"),
    (["ping", "unix:///nowhere/at/all"], "No such file"),
    (["echo", "tcp://256.0.0.1:0"], "can't resolve"),
    (["echo", "memory://lab"], "stays within one process"),
    (["echo", "unix:///nowhere/at/all"], "No such file"),
    (["echo", "tcp://127.0.0.1:0", "--max-connections", "0"], "is not a whole number from 1"),
    (["echo", "tls://127.0.0.1:0"], "certfile"),
    (["proxy", "tcp://127.0.0.1:9", "--loss", "5%"], "can't lose packets, because each kernel repairs"),
    (["proxy", "udp://127.0.0.1:9", "--loss", "lots"], "argument --loss: 'lots' is not a number from 0 to 1"),
    (["proxy", "udp://127.0.0.1:9", "--rate", "fast"], "is not a rate"),
    (["proxy", "udp://127.0.0.1:9", "--blackouts", "5s"], "write windows of time"),
    (["proxy", "udp://127.0.0.1:9", "--listen", "127.0.0.1"], "the port is missing"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_is_one_line(arguments: list[str], said: str) -> None:
    ran = finished(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("transport") and ran.stderr.count("\n") == 1
    assert said in ran.stderr


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["ping", "--help"], ["proxy", "--help"]])
def test_a_closed_pipe_is_no_traceback(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        ran = subprocess.run([*COMMAND, *arguments], cwd=tree.ROOT, stdout=out, stderr=subprocess.PIPE, check=False)
    assert ran.stderr == b""
    assert ran.returncode in ((141,) if arguments == ["version"] else (0, 141))  # argparse may overlook it


def test_a_pipe_that_closes_ends_a_server() -> None:
    with process("echo", "tcp://127.0.0.1:0", "--every", "10ms") as started:
        first_line(started)
        started.stdout.close()
        assert started.wait() == 141
        assert started.stderr.read() == ""
        started.stdout = None


@pytest.mark.slow
def test_a_pipe_that_closes_ends_a_ping() -> None:
    with process("echo", "tcp://127.0.0.1:0", "-q") as server:
        url = url_of(first_line(server))
        with process("ping", url, "-i", "10ms") as started:
            first_line(started)
            started.stdout.close()
            assert started.wait() == 141
            assert started.stderr.read() == ""
            started.stdout = None


def test_help_names_every_command_and_the_link() -> None:
    assert {"ping", "echo", "proxy", "version"} <= set(finished("--help").stdout.split())
    said = finished("proxy", "--help", COLUMNS="100").stdout
    assert {"--loss", "--delay", "--rate", "--blackouts", "--reset-after", "--seed"} <= set(said.split())
    assert "%%" not in said


@pytest.mark.slow
def test_on_a_terminal_the_status_stays_at_the_bottom() -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    with process("echo", "tcp://127.0.0.1:0", "-q") as server:
        url = url_of(first_line(server))
        with subprocess.Popen(
            [*COMMAND, "ping", url, "-c", "8", "-i", "20ms", "--every", "30ms"], cwd=tree.ROOT, env=environment,
            stdin=slave, stdout=slave, stderr=slave,
        ) as ping:  # fmt: skip
            os.close(slave)
            said = b""
            try:
                while piece := os.read(master, 65_536):
                    said += piece
            except OSError:  # how Linux says that the other side of a terminal is closed
                pass
            finally:
                os.close(master)
    text = said.decode()
    assert ping.returncode == 0
    assert re.search(r"\r\d+ sent  0 lost \(0%\)  p50 \d+\.\d{3} ms", text)
    assert re.search(r"\r\x1b\[Kseq=\d time=", text)  # a line takes the place of the status
    last = text.rpartition("\x1b[K")[2]
    assert last.startswith("---") and "8 sent, 8 answered" in last


def test_importing_the_package_imports_no_command() -> None:
    program = (
        "import sys, transport, transport.cli; print([name for name in sys.modules if 'transport.tools.' in name])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tree.ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert set(re.findall(r"'transport\.tools\.(\w+)'", ran.stdout)) == {"arguments", "live", "units"}
    program = "import sys, transport; print([name for name in sys.modules if 'transport.tools' in name])"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tree.ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert ran.stdout == "[]\n"


def test_the_file_of_a_unix_socket_is_taken_away(tmp_path: Path) -> None:
    with process("proxy", "tcp://127.0.0.1:9", "--listen", f"unix://{tmp_path}/proxy") as started:
        first_line(started)
        assert (tmp_path / "proxy").is_socket()
        started.send_signal(signal.SIGTERM)
        started.communicate()
    assert not (tmp_path / "proxy").exists()
