"""TRANSPORT_PURE and what the package says of its build."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import transport
from tests.meta import tree
from transport import _build

LOADED = """
import sys, transport, transport.session, transport.codec.varint
from transport import _build
try:
    import transport.net._native
except ModuleNotFoundError as error:
    print("absent", error.name)
else:
    print("present")
print(transport.compiled, _build.notice())
print(any(str(module.__file__).endswith((".so", ".pyd")) for name, module in sys.modules.items()
          if name.startswith("transport.")))
print(any(isinstance(finder, _build.SourceFinder) for finder in sys.meta_path))
"""


def run(code: str, pure: str) -> list[str]:
    environment = {**os.environ, "TRANSPORT_PURE": pure}
    asked = subprocess.run([sys.executable, "-c", code], cwd=tree.ROOT, env=environment, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert not asked.stderr
    return asked.stdout.splitlines()


def test_switch_takes_the_sources() -> None:
    lines = run(LOADED, "1")
    assert lines[0] == "absent transport.net._native"
    assert lines[1].startswith("False transport runs interpreted (TRANSPORT_PURE is set)")
    assert lines[2:] == ["False", "True"]


@pytest.mark.parametrize("value", ["", "0"])
def test_without_the_switch_no_finder_is_installed(value: str) -> None:
    assert run(LOADED, value)[3] == "False"


def test_switch_covers_spawned_processes() -> None:
    """Workers inherit the environment, and so the build."""
    code = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import transport; print(transport.compiled)'])"
    )
    assert run(code, "1") == ["False"]


def test_a_module_of_nobody_is_left_to_others() -> None:
    finder = _build.SourceFinder("transport")
    assert finder.find_spec("json", ["/nowhere"]) is None
    assert finder.find_spec("transportation.x", ["/nowhere"]) is None
    with pytest.raises(ModuleNotFoundError, match="sources only"):
        finder.find_spec("transport.nothing_of_the_sort", [str(tree.PACKAGE)])
    finder.invalidate_caches()


def test_compiled_says_what_the_modules_say() -> None:
    assert transport.compiled is _build.is_compiled()
    assert transport.compiled is (bool(_build.modules()) and all(_build.modules().values()))
    assert (_build.notice() is None) == transport.compiled


def test_partly_compiled_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_build, "modules", lambda: {"transport.a": True, "transport.b": False})
    monkeypatch.setattr(_build, "PURE", False)
    assert not _build.is_compiled()
    assert "partly compiled" in str(_build.notice())
    monkeypatch.setattr(_build, "modules", lambda: {"transport.a": False})
    assert "no compiled modules" in str(_build.notice())


def test_version_is_the_package_s() -> None:
    assert transport.__version__ == _build.VERSION
