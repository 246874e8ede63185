"""Every command line of `transport` in the documents is one that the command takes."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.docs.blocks import DOCUMENTS
from transport import cli

LINES = [
    line
    for document in DOCUMENTS
    for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("transport ")
]


def test_there_are_some_of_each() -> None:
    assert {line.split()[1] for line in LINES} >= {"ping", "echo", "proxy", "inspect", "top"}
    assert len(LINES) > 10


@pytest.mark.parametrize("line", LINES)
def test_it_parses(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    assert cli.parser().parse_args(arguments).command == arguments[0]
