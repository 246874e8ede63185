"""The programs of examples/node as processes: one that decodes lines, and peers that talk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.meta import tree

NODE = shutil.which("node") or ""
OLDEST = 18
FOLDER = tree.ROOT / "examples" / "node"
TALK = tree.ROOT / "tests" / "examples" / "node" / "talk.js"


def _missing() -> str:
    if not NODE:
        return "node is not installed"
    try:
        version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"node does not run: {error}"
    return "" if int(version.lstrip("v").split(".")[0]) >= OLDEST else f"node {version} is older than {OLDEST}"


MISSING = _missing()
needs_node = pytest.mark.skipif(bool(MISSING), reason=MISSING or "node is there")


def through(script: str, lines: list[Any]) -> list[Any]:
    """What a program of lines of JSON answers to each of these."""
    path = FOLDER / script if (FOLDER / script).exists() else TALK.parent / script
    done = subprocess.run(
        [NODE, str(path)], input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def body(index: int, size: int) -> bytes:
    """The message with that index, as talk.js makes it, too."""
    return (hashlib.sha256(str(index).encode()).digest() * (size // 32 + 1))[:size]


class Talker:
    """A process of talk.js: it says JSON lines, and what it says is kept for a failing test to show."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[Any] = []

    async def line(self) -> Any:
        """The next line that it says."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, f"it said only {self.said}"
        self.said.append(json.loads(line))
        return self.said[-1]

    async def ended(self) -> None:
        """It has come to its end, in peace."""
        assert self._process.stdout is not None
        rest = await self._process.stdout.read()
        assert (await self._process.wait(), rest) == (0, b"")

    def tell(self, word: Any) -> None:
        """Gives it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(word).encode() + b"\n")


@asynccontextmanager
async def talker(mode: str, **about: Any) -> AsyncIterator[Talker]:
    """Runs talk.js; it is gone when the block ends."""
    process = await asyncio.create_subprocess_exec(
        NODE, str(TALK), mode, json.dumps(about), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_OPTIONS": ""},
    )  # fmt: skip
    try:
        yield Talker(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
