"""Every program in README and docs runs as it stands there, prints what it says there, and warns of nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from tests.docs.blocks import DOCUMENTS, EVERY, Block
from tests.meta import tree

RUN = [block for block in EVERY if "compiled only" not in block.marks]
SECONDS_MAX = 15  # a program takes well under five; the rest is for a busy machine


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that the mark `tls` promises."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    return {"server.pem": issued.private_key_and_cert_chain_pem.bytes(), "ca.pem": authority.cert_pem.bytes()}


def test_there_are_programs() -> None:
    assert len(DOCUMENTS) > 10
    assert len(RUN) > 20


@pytest.mark.parametrize("block", EVERY, ids=lambda block: block.name)
def test_compiles(block: Block) -> None:
    compile(block.source, block.name, "exec", dont_inherit=True)


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_runs(block: Block, tmp_path: Path, certificates: dict[str, bytes]) -> None:
    if "tls" in block.marks:
        for name, data in certificates.items():
            (tmp_path / name).write_bytes(data)
    program = tmp_path / "program.py"
    program.write_text(block.source, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(program)], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, "PYTHONPATH": str(tree.ROOT), "PYTHONIOENCODING": "utf-8"}, timeout=SECONDS_MAX,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    if block.output is not None:
        assert ran.stdout == block.output
