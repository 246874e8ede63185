"""Byte pipes to test on: every scheme that is one, on loops that can watch descriptors and on loops that cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.conftest import LOOPS
from tests.drive.portable import PORTABLE_LOOPS
from transport.api import connect, serve


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop turn until `condition` holds; a test that waits for ever is stopped by its time limit."""
    while not condition():
        await asyncio.sleep(0)


EVERY_LOOP = {**LOOPS, **PORTABLE_LOOPS}


@dataclass
class Site:
    """One scheme, ready to serve and connect on it."""

    scheme: str
    url: str
    server: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)

    def serve(self, *arguments: Any, **options: Any) -> Any:
        return serve(self.url, *arguments, **{**self.server, **options})

    def connect(self, server: Any, **options: Any) -> Any:
        return connect(server.url, **{**self.client, **options})


@dataclass
class Certificates:
    """An authority and what it signed, as files."""

    authority: trustme.CA
    folder: Path
    cafile: str
    certfile: str

    def issue(self, name: str, *identities: str) -> str:
        """A certificate with its key in one file."""
        path = self.folder / name
        issued = self.authority.issue_cert(*identities)
        path.unlink(missing_ok=True)
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    cafile = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(cafile))
    made = Certificates(authority, folder, str(cafile), "")
    made.certfile = made.issue("server.pem", "localhost", "127.0.0.1")
    return made


@pytest.fixture(params=["tcp", "unix", "tls"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "tcp":
        return Site("tcp", "tcp://127.0.0.1:0")
    if request.param == "unix":
        return Site("unix", f"unix://{tmp_path}/s")
    made: Certificates = request.getfixturevalue("certificates")
    return Site("tls", "tls://127.0.0.1:0", {"certfile": made.certfile}, {"cafile": made.cafile})


@pytest.fixture(params=list(EVERY_LOOP.values()), ids=list(EVERY_LOOP))
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as made:
        yield made
