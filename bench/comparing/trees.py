"""Commits and folders as trees that a worker can import `transport` from, in a temporary folder that never stays.

A commit is unpacked with `git archive`, so the repository's own list of work trees is not touched. `bench` is always
that of this checkout: beside each tree lies a folder with two links, to our `bench` and to its `transport`. It must
never write into a folder that somebody named, nor into the repository.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.child import ROOT
from bench.scratch import hire_janitor

PACKAGE = "transport"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.c", "*.so", ".*")  # what is compiled, `building` takes over


class TreeError(ValueError):
    """A name that is no tree, or a tree that cannot be had; the text is for the command line."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a name on the command line stands for.

    Attributes:
        commit: full hash, or None for a folder.
        folder: None for a commit.
        title: for reports; a folder's path says much about a machine and nothing about a figure, so it is left out.
    """

    commit: str | None
    folder: Path | None
    title: str


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree that is ready.

    Attributes:
        sources: where it lies; path: the folder that workers start in and import from.
    """

    name: str
    source: Source
    sources: Path
    path: Path


def git(*arguments: str) -> bytes:
    """What git prints in this checkout. Raises TreeError with its last words."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise TreeError("git is not installed, so there are no commits to compare") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise TreeError(f"git {arguments[0]}: {last[0] if last else 'failed'}")
    return done.stdout


def resolve(name: str) -> Source:
    """A folder that holds the package, or a commit. Raises TreeError."""
    folder = Path(name)
    if (folder / PACKAGE / "__init__.py").is_file():
        return Source(None, folder.resolve(), "a folder")
    if folder.is_dir():
        raise TreeError(f"there is no {PACKAGE}/ in the folder {name}")
    try:
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().strip()
    except TreeError as error:
        if "not installed" in str(error):
            raise
        raise TreeError(f"{name!r} is no commit here, no folder with {PACKAGE}/ in it, and no result file") from None
    subject = git("show", "--no-patch", "--format=%s", commit).decode(errors="replace").strip()
    return Source(commit, None, f"{commit[:10]} {subject}")


class Workspace:
    """The temporary folder. Use as a context manager; a janitor removes it however this process ends."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-trees-"))
        self._janitor = hire_janitor(self.folder)

    def watch(self, group: int) -> None:
        """A process group writes into the folder."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """It is over."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        assert self._janitor.stdin is not None
        self._janitor.stdin.write(line.encode())
        self._janitor.stdin.flush()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._janitor.stdin is not None
        self._janitor.stdin.close()
        self._janitor.wait()

    def unpack(self, name: str, source: Source) -> Tree:
        """The tree `source` under `name`. Raises TreeError."""
        sources, path = self.folder / name / "tree", self.folder / name / "path"
        sources.mkdir(parents=True)
        path.mkdir()
        if source.folder is None:
            assert source.commit is not None
            with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", source.commit))) as archive:
                archive.extractall(sources, filter="data")
        else:
            copy(source.folder, sources)
        if not (sources / PACKAGE / "__init__.py").is_file():
            raise TreeError(f"there is no {PACKAGE}/ in {source.title}")
        (path / "bench").symlink_to(ROOT / "bench")
        (path / PACKAGE).symlink_to(sources / PACKAGE)
        return Tree(name, source, sources, path)


def copy(folder: Path, to: Path) -> None:
    """The package and the files beside it, without what was built elsewhere or is hidden."""
    shutil.copytree(folder / PACKAGE, to / PACKAGE, ignore=LEFT_OUT)
    for file in folder.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy2(file, to / file.name)
