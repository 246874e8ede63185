"""A broker between two peers: found, started, told apart from one that fails, and gone with who started it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from bench.child import ROOT
from bench.peers import nats

LISTENS = """#!/bin/sh
# --addr HOST --port -1 --ports_file_dir FOLDER
echo '{"nats": ["nats://'"$2"':4222"]}' > "$6/nats-server_$$.ports"
exec sleep 60
"""
FAILS = """#!/bin/sh
echo "no such address" > "$8"
exit 3
"""
STARTS = """
import sys
from bench.peers.nats import start_broker
print(*start_broker("127.0.0.2", sys.argv[1]), flush=True)
sys.stdin.read()
"""


def install(folder: Path, script: str) -> None:
    """Puts a broker of ours into `folder`."""
    path = folder / "nats-server"
    path.write_text(script)
    path.chmod(0o755)


def test_a_broker_that_is_not_there_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nats, "broker_path", lambda: None)
    monkeypatch.setattr(nats.Nats, "modules", ())
    monkeypatch.setattr(nats.Nats, "distributions", ())
    monkeypatch.setattr(nats.Nats, "loop", "asyncio")
    assert nats.Nats().missing() == "apt-get install nats-server"
    with pytest.raises(RuntimeError, match="no nats-server: apt-get install nats-server"):
        nats.start_broker("127.0.0.1", str(tmp_path))


def test_a_broker_is_found_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, "#!/bin/sh\necho nats-server: v9.8.7\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert nats.broker_path() == str(tmp_path / "nats-server")
    assert nats.broker_version() == "9.8.7"


def test_a_broker_that_ends_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, FAILS)
    monkeypatch.setattr(nats, "broker_path", lambda: str(tmp_path / "nats-server"))
    monkeypatch.chdir(ROOT)
    with pytest.raises(RuntimeError, match=r"does not listen \(status 3\): no such address"):
        nats.start_broker("127.0.0.1", str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's word about the end of a parent")
def test_a_broker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    install(tmp_path, LISTENS)
    environment = dict(os.environ, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(ROOT))
    with subprocess.Popen(
        [sys.executable, "-c", STARTS, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid, url = process.stdout.readline().split()
        assert url == "nats://127.0.0.2:4222"
        broker = os.pidfd_open(int(pid))
        try:
            assert not select.select([broker], [], [], 0)[0], "it runs"
            process.kill()
            assert select.select([broker], [], [], 10)[0], "it has outlived its parent"
        finally:
            os.close(broker)
