"""The Python blocks of the documents, as programs.

A block is a program of its own, unless an HTML comment right before its fence says otherwise:

    <!-- continues -->      it goes on where the block before it in the same document ended
    <!-- compiled only -->  it is a sketch: it must compile, and is not run
    <!-- tls -->            it finds server.pem and ca.pem, for localhost and 127.0.0.1, where it runs

A fence of the kind `text` right behind a block is what the program prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.meta import tree

DOCUMENTS = [tree.ROOT / "README.md", *sorted((tree.ROOT / "docs").rglob("*.md"))]
MARKS = {"continues", "compiled only", "tls"}
_BLOCK = re.compile(r"((?:^<!-- [^\n]+ -->\n)*)^```python\n(.*?)^```\n(?:\n?```text\n(.*?)^```\n)?", re.M | re.S)


@dataclass
class Block:
    """One program."""

    name: str
    source: str
    marks: set[str]
    output: str | None


def blocks(document: Path) -> list[Block]:
    """The programs of one document, in order."""
    text = document.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in _BLOCK.finditer(text):
        marks = set(re.findall(r"<!-- (.+?) -->", match[1])) - {"bench:begin", "bench:end"}
        assert marks <= MARKS, f"{document}: unknown marks {marks - MARKS}"
        line = text.count("\n", 0, match.start(2)) + 1
        source = match[2]
        if "continues" in marks:
            source = found[-1].source + "\n" + source
            marks |= found[-1].marks
        found.append(Block(f"{tree.shown(document)}:{line}", source, marks, match[3]))
    assert len(found) == text.count("```python"), f"{document}: a block that is not understood"
    return found


EVERY = [block for document in DOCUMENTS for block in blocks(document)]
