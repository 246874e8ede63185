"""Compiles the modules of a tree, and takes over what has been compiled from the very same sources before.

A full build takes minutes and two trees mostly differ in a few files, so a module's C file and its compiled form are
copied from this checkout or from the other tree where everything it is made from is equal, byte by byte. It must never
take over a module that could differ, and never say that a tree is compiled when it is not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

from bench.child import ROOT
from bench.comparing.trees import PACKAGE, Tree, TreeError, Workspace
from bench.progress import Progress

CYTHON_MIN = 3
OLD_S, MIDDLE_S = 300, 150  # ages: sources, then C files, then what is compiled
ASK = (
    "import json, sys, sysconfig\n"
    "try:\n import Cython, setuptools\n version = Cython.__version__\n"
    "except ImportError:\n version = '0'\n"
    "folder = f'lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}'\n"
    "print(json.dumps([version, sysconfig.get_config_var('EXT_SUFFIX'), folder]))\n"
)
LIST = (
    "import json, os, setup\n"
    "print(json.dumps({name: [str(path), sorted(map(str, setup.dependencies(name)))]"
    " for name, path in setup.sources().items()}))\n"
)
IS_COMPILED = f"import json, {PACKAGE}; print(json.dumps(str(getattr({PACKAGE}, 'compiled', 'unknown'))))"


def asked(python: str, code: str, folder: Path) -> Any:
    """What `code` prints, run in `folder`, or None where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    try:
        return json.loads(done.stdout) if done.returncode == 0 else None
    except json.JSONDecodeError:
        return None


def builder() -> str | None:
    """An interpreter that can compile for the one in use: this one, or else that of the project's own environment."""
    mine = asked(sys.executable, ASK, ROOT)
    for python in (sys.executable, str(ROOT / ".venv" / "bin" / "python"), os.environ.get("BENCH_BUILD_PYTHON", "")):
        found = asked(python, ASK, ROOT) if python and Path(python).exists() else None
        if found and mine and found[1] == mine[1] and int(found[0].partition(".")[0]) >= CYTHON_MIN:
            return python
    return None


def listed(python: str, folder: Path) -> dict[str, tuple[Path, list[Path]]]:
    """Each compiled module of a tree: its source and all that it is made from, relative to the tree."""
    found = asked(python, LIST, folder) if (folder / "setup.py").exists() else None
    return {name: (Path(path), [Path(file) for file in files]) for name, (path, files) in (found or {}).items()}


def take_over(python: str, tree: Path, donor: Path) -> int:
    """Copies C files and compiled modules from `donor` for modules whose every source is equal; returns how many."""
    _, suffix, built = asked(python, ASK, ROOT)
    if not _same(tree / "setup.py", donor / "setup.py"):
        return 0
    theirs = listed(python, donor)
    taken = 0
    for name, (path, files) in listed(python, tree).items():
        made = [path.with_suffix(".c"), path.with_suffix(suffix)]
        if name not in theirs or theirs[name][1] != files or (tree / made[1]).exists():
            continue
        if not all(_same(tree / file, donor / file) for file in files) or not _fresh(donor, made, files):
            continue
        for file in made:
            shutil.copyfile(donor / file, tree / file)
        again = tree / "build" / built / made[1]  # where setuptools looks whether a module is to be compiled
        again.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(donor / made[1], again)
        taken += 1
    return taken


def _same(one: Path, other: Path) -> bool:
    """Whether both exist and are equal."""
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _fresh(folder: Path, made: list[Path], files: list[Path]) -> bool:
    """Whether what was made is there and younger than what it was made from."""
    try:
        oldest = min((folder / file).stat().st_mtime for file in made)
        return oldest >= max((folder / file).stat().st_mtime for file in [*files, Path("setup.py")])
    except OSError:
        return False


def set_ages(tree: Path, suffix: str) -> None:
    """Sources old, C files younger, compiled modules youngest: what setup.py and Cython go by."""
    now = time()
    for file in tree.rglob("*"):
        if file.is_file() and not file.is_symlink():
            age = 0 if file.name.endswith(suffix) else MIDDLE_S if file.suffix == ".c" else OLD_S
            os.utime(file, (now - age, now - age))


def build(tree: Tree, donors: list[Path], workspace: Workspace, say: Callable[[str], None]) -> str:
    """Compiles what is not compiled yet; returns what `transport.compiled` says afterwards. Raises TreeError."""
    python = builder() if (tree.sources / "setup.py").exists() else None
    if python is None:
        if (tree.sources / "setup.py").exists():
            say(f"{tree.name}: runs interpreted: no Cython {CYTHON_MIN} here, nor where BENCH_BUILD_PYTHON says")
    else:
        taken = sum(take_over(python, tree.sources, donor) for donor in donors)
        suffix = asked(python, ASK, ROOT)[1]
        set_ages(tree.sources, suffix)
        total = len(listed(python, tree.sources))
        say(f"{tree.name}: {tree.source.title}; {taken} of {total} modules are compiled already")
        if taken < total:
            compile_modules(python, tree, workspace, suffix, total)
    compiled = asked(sys.executable, IS_COMPILED, tree.path)
    if compiled is None:
        raise TreeError(f"{tree.name}: `import {PACKAGE}` fails in {tree.source.title}")
    return str(compiled)


def compile_modules(python: str, tree: Tree, workspace: Workspace, suffix: str, total: int) -> None:
    """Runs the tree's own setup.py under a progress bar. Raises TreeError with its last words."""
    with tempfile.TemporaryFile() as output, Progress(f"build {tree.name}", total) as progress:
        process = subprocess.Popen(
            [python, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=tree.sources, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        workspace.watch(process.pid)
        try:
            while True:
                try:
                    process.wait(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    progress.update(sum(1 for _ in (tree.sources / "build").rglob("*" + suffix)), "compiled")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
            workspace.forget(process.pid)
        if process.returncode:
            output.seek(0)
            last = output.read().decode(errors="replace").strip().splitlines()[-3:]
            raise TreeError(f"{tree.name}: setup.py failed: {' | '.join(last)}")
