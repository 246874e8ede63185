"""The `.pxd` files, the build list and the sources agree, and a build is whole or absent."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.meta import tree
from transport import _build

PXDS = [path for path in tree.files("transport", suffixes=(".pxd",)) if not path.read_text().startswith("# inline")]
_CLASS = re.compile(r"^cdef class (\w+)(?:\((\w+)\))?:")
_FIELD = re.compile(r"^\s+cdef (?:public |readonly )?(?!class )([^()=#]+?)(?:\s*#.*)?$")
_METHOD = re.compile(r"^\s+c?p?def\b.*?(\w+)\(")
_IMPORT = re.compile(r"^from (transport[\w.]*) cimport (.+)$")

Declared = dict[str, tuple[str | None, set[str]]]


def declared(pxd: Path) -> Declared:
    """Each class that `pxd` or a `.pxd` it cimports from declares: its base and its attributes."""
    found: Declared = {}
    current = None
    for line in pxd.read_text(encoding="utf-8").splitlines():
        if imported := _IMPORT.match(line):
            other = (tree.ROOT / Path(*imported[1].split("."))).with_suffix(".pxd")
            if other.exists():
                found.update(declared(other))
        elif opened := _CLASS.match(line):
            current = opened[1]
            found[current] = (opened[2], set())
        elif line.strip() and not line[0].isspace():
            current = None
        elif current is not None and (field := _FIELD.match(line)):
            found[current][1].update(re.sub(r"\[[^]]*\]", "", name).split()[-1] for name in field[1].split(","))
    return found


def fields(name: str | None, known: Declared) -> set[str]:
    """The attributes of class `name`, inherited ones too."""
    base, own = known.get(name or "", (None, set()))
    return own | fields(base, known) if name in known else own


def assigned(node: ast.AST) -> set[str]:
    """The attributes of `self` that `node`, a class or a method, sets."""
    return {
        part.attr for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)
        and isinstance(part.value, ast.Name) and part.value.id == "self"
    }  # fmt: skip


def initial(node: ast.ClassDef) -> set[str]:
    """What every instance has once `__init__` has run, with the methods that it calls.

    A class made often may have a `fill` in its place: calling `__new__` and a typed method costs less than the class.
    """
    methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    found = {
        name.id for part in node.body if isinstance(part, ast.Assign | ast.AnnAssign)
        for name in ast.walk(part) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }  # fmt: skip
    waiting, seen = ["__init__", "fill"], {"__init__", "fill"}
    while waiting:
        method = methods.get(waiting.pop())
        if method is None:
            continue
        found |= assigned(method)
        called = {
            call.func.attr for call in ast.walk(method) if isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "self"
        }  # fmt: skip
        waiting += called - seen
        seen |= called
    return found


def load_setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_of_transport", tree.ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("setuptools", reason="setup.py needs setuptools, which this environment lacks")
    monkeypatch.chdir(tree.ROOT)
    return load_setup()


def test_build_list_is_the_pxd_files(setup: ModuleType) -> None:
    listed = {name for name, path in setup.sources().items() if path.suffix == ".py"}
    wanted = {"transport." + tree.module(path) for path in PXDS if path.with_suffix(".py").exists()}
    assert listed == wanted
    assert wanted == set(_build.modules())


def test_every_pxd_has_a_source() -> None:
    alone = [path for path in PXDS if not any(path.with_suffix(kind).exists() for kind in (".py", ".pyx"))]
    assert not alone


def test_the_build_is_whole_or_absent() -> None:
    """A module that silently does not compile costs its users the speed they were promised."""
    missing = [name for name, built in _build.modules().items() if not built]
    assert not missing or len(missing) == len(_build.modules()), f"not compiled: {missing}"


@pytest.mark.parametrize("pxd", [path for path in PXDS if path.with_suffix(".py").exists()], ids=tree.shown)
def test_attributes_and_methods_are_declared(pxd: Path) -> None:
    """An attribute missing from the `.pxd` works interpreted and raises AttributeError compiled."""
    known = declared(pxd)
    source = ast.parse(pxd.with_suffix(".py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
    wrong = {}
    for name, node in classes.items():
        if name not in known or "__dict__" in fields(name, known):
            continue
        properties = {part.name for part in node.body if isinstance(part, ast.FunctionDef) and part.decorator_list}
        if missing := assigned(node) - fields(name, known) - properties:
            wrong[name] = sorted(missing)
    assert not wrong, f"not in {tree.shown(pxd)}: {wrong}"
    own = [found[1] for line in pxd.read_text().splitlines() if (found := _CLASS.match(line))]
    assert not [name for name in own if name not in classes], "declared, but not in the source"


@pytest.mark.parametrize("pxd", [path for path in PXDS if path.with_suffix(".py").exists()], ids=tree.shown)
def test_declared_attributes_begin_somewhere(pxd: Path) -> None:
    """A declared attribute that `__init__` does not set is 0 or None compiled, and an AttributeError interpreted."""
    known = declared(pxd)
    source = ast.parse(pxd.with_suffix(".py").read_text(encoding="utf-8"))
    wrong = {}
    for node in source.body:
        if isinstance(node, ast.ClassDef) and node.name in known:
            properties = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            if missing := known[node.name][1] - initial(node) - properties - {"__dict__", "__weakref__"}:
                wrong[node.name] = sorted(missing)
    assert not wrong, f"not set by __init__: {wrong}"


def test_a_dependent_falls_with_its_base(setup: ModuleType) -> None:
    """A compiled class cannot stand on an interpreted one, so a build drops both or neither."""
    sources = setup.sources()
    assert setup.dependents({"transport.session"}) >= {"transport.session"}
    for name, path in sources.items():
        if "transport.session.MessageSession" in setup.cimported(path):
            assert name in setup.dependents({"transport.session"})
    assert setup.dependents(set(sources)) == set(sources)
