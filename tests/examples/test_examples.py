"""Every example runs to its end as a program of its own, says what it should, and warns of nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta import tree

FOLDER = tree.ROOT / "examples"
NEEDS = {"redis_client": "redis-server"}  # the example: the program that it needs

SAYS = {
    "browser_page": [
        "HTTP/1.1 200 OK True",
        "ann reads hello\nbob reads hello\nnobody asked: True\nlate reads ['hello']",
    ],
    "browser_room": ["[{'said': 'hello', 'replay': False}]\n[{'said': 'you have missed this', 'replay': True}]"],
    "chat": [
        "ada sees {'joined': 'ada', 'here': ['ada']}",
        "cyd heard ['hello from ada', 'hello from bob', 'hello from cyd']",
        "refused: 1 ada is here already",
    ],
    "custom_codec": [
        "Position(number=1, x=-2.5, y=4.0)",
        "not sent: no position: 'somewhere'",
        "refused: connection closed by this side: 1104",
    ],
    "echo": ["hello", "[1, 2.5, b'\\x00']", "{'nested': {'list': []}}"],
    "exec_transport": ["FIELD", "GUIDE", "exit status 0"],
    "file_sender": ["3.0 MB of 3.0 MB", "lost, ", "intact over memory://files", "intact over rudp://127.0.0.1:"],
    "file_transfer": ["20000000 bytes, intact"],
    "game_state": [
        " of the states, none older than one before\nada heard ",
        " lines, its own whole\nbob's packets were lost: True",
        "cyd's packets were lost: True",
    ],
    "heartbeat_machine": ["beats over tcp: 3", "simulated: 11 answered in 40 ms, 9 missed"],
    "pair_transport": ["{'over': 'a pair'} 256 True", "pair://nobody: nobody has that name"],
    "redis_client": ["PONG", "OK", "hello ü", "[b'100', None]", "error: ERR value is not an integer", "2"],
}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(FOLDER / f"{name}.py"), *arguments]


def surroundings() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree.ROOT), "PYTHONIOENCODING": "utf-8"}


def test_every_example_is_expected_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_runs(name: str, tmp_path: Path) -> None:
    program = NEEDS.get(name)
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: apt-get install {program})")
    ran = subprocess.run(
        command(name), cwd=tmp_path, env=surroundings(), capture_output=True, encoding="utf-8", check=False, timeout=15
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    for line in SAYS[name]:
        assert line in ran.stdout


def test_echo_as_two_programs() -> None:
    """A server in one process, a client in another, and the end by Ctrl-C."""
    with subprocess.Popen(
        command("echo", "serve", "tcp://127.0.0.1:0"), env={**surroundings(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[1]
            ran = subprocess.run(
                command("echo", "call", url), env=surroundings(), capture_output=True, encoding="utf-8", check=False,
                timeout=15,
            )  # fmt: skip
        finally:
            server.send_signal(signal.SIGINT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "hello"
    assert server.returncode in (-signal.SIGINT, 130, 1)


def test_wrong_arguments_show_the_usage() -> None:
    ran = subprocess.run(
        command("echo", "nonsense"), env=surroundings(), capture_output=True, encoding="utf-8", check=False, timeout=15
    )
    assert ran.returncode == 1
    assert "python examples/echo.py serve" in ran.stderr
