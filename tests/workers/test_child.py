"""Finding a handler by its name. What else a worker does is tested with its parent, as real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from transport.errors import LocalProtocolError
from transport.workers import child, line


def test_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_handlers.py").write_text("class Outer:\n    @staticmethod\n    async def inner(conn): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert child.load("named_handlers:Outer.inner").__name__ == "inner"
    for name in ("named_handlers:Outer.none", "named_handlers:none.inner", "named_handlers:__doc__"):
        with pytest.raises(LocalProtocolError, match="is not there, or not a function"):
            child.load(name)
    with pytest.raises(LocalProtocolError, match="can't import"):
        child.load("named_handlers.none:inner")
    monkeypatch.delitem(sys.modules, "named_handlers")


@pytest.mark.parametrize("by_name", [True, False])
def test_the_main_module_is_main_here_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_name: bool) -> None:
    path = tmp_path / "some_program.py"
    path.write_text("async def handler(conn): ...\nSTARTED = __name__ == '__main__'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setitem(sys.modules, "__worker_main__", child)
    child.load_main(line.Main("some_program", "") if by_name else line.Main("", str(path)))
    assert not sys.modules["__main__"].STARTED
    assert child.load("__main__:handler").__name__ == "handler"
    sys.modules.pop("some_program", None)


@pytest.mark.parametrize(
    "wanted", [line.Main("no_such_program", ""), line.Main("", "no-such-file.py"), line.Main("", "x")]
)
def test_a_main_module_that_can_not_be_imported(wanted: line.Main, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__worker_main__", child)
    with pytest.raises(LocalProtocolError, match="stands under `if __name__ == '__main__':`"):
        child.load_main(wanted)
