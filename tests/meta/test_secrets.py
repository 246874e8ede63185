"""Nothing that belongs to one machine or one network is in the repository: no path, no package index, no key."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import socket
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.meta import tree

TEST_KEYS = {"bench/peers/localhost.key"}  # for loopback only, worth nothing
_HOME = re.compile(r"(?<![\w:/.])/(?:home|Users)/[A-Za-z]\w*/")
_INDEX = re.compile(
    r"--(?:extra-)?index-url|--find-links|--trusted-host|https?://[^\s\"'<>)]*(?:pypi|pythonhosted|npmjs|simple/)"
)
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE" + " KEY-----")


def of_this_machine() -> list[str]:
    """Strings that could only have come from the machine these tests run on."""
    folders = {str(tree.ROOT), str(Path.home()), sys.prefix, sys.base_prefix, tempfile.gettempdir()}
    found = [folder.rstrip("/") + "/" for folder in folders if folder.strip("/")]
    name = socket.gethostname()
    return found + ([name] if len(name) > 8 and name != "localhost" else [])


def test_tracked_files_are_clean() -> None:
    files = tree.tracked()
    if files is None:
        pytest.skip("no repository here to ask for its files")
    machine, wrong = of_this_machine(), []
    for path in files:
        if path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            plain = line.replace("unix:///", "unix:").replace("unix+", "")
            if any(part in plain for part in machine) or _HOME.search(plain) or _INDEX.search(plain):
                wrong.append(f"{tree.shown(path)}:{number}: {line.strip()[:100]}")
        if _KEY.search(text) and tree.shown(path) not in TEST_KEYS:
            wrong.append(f"{tree.shown(path)}: a private key")
    assert not wrong, "\n".join(wrong)


def needed() -> set[str]:
    """Every package that the project's extras bring in, by what is installed here."""
    settings = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    waiting = [*settings["build-system"]["requires"], *project["dependencies"]]
    waiting += [need for extra in project["optional-dependencies"].values() for need in extra]
    found: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            waiting += importlib.metadata.requires(name) or []
    return found


def test_everything_that_is_installed_is_pinned() -> None:
    """Or tomorrow's release of somebody's dependency decides whether the tests pass."""
    text = (tree.ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {canonicalize_name(line.split("==")[0]) for line in text.splitlines() if "==" in line}
    assert not needed() - pinned


def test_constraints_are_names_and_versions() -> None:
    lines = (tree.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins == sorted(pins, key=lambda line: line.lower().replace("-", "_"))
    assert not [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)]
