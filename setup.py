"""Builds the compiled modules; everything else about the package is in pyproject.toml.

The build list is what lies on disk: a `.py` with a sibling `.pxd` (unless the latter's first line starts with
`# inline`) and, on Linux, every `.pyx`. The same `.py` runs interpreted, so this file must never stop an install:
without a compiler, without Cython or with a module that does not compile, it says so once and leaves Python behind.

Environment:
    TRANSPORT_REQUIRE_EXT=1: any module that cannot be built is an error.
    TRANSPORT_PURE=1: builds nothing.
    TRANSPORT_BUILD_JOBS=N: so many at a time (default: one for each core).
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

PACKAGE = "transport"
DIRECTIVES = {"language_level": 3, "annotation_typing": False, "cdivision": False, "boundscheck": True}
UNIX_FLAGS = [
    "-O2",
    "-ffp-contract=off",  # one result for one float expression on every machine
    "-fvisibility=hidden",  # these two: calls that go straight to their target
    "-fno-plt",
]
CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport\s+(.+)|cimport\s+(.+))$", re.MULTILINE)


class Module(Extension):
    """One compiled module. Cython keeps extensions in sets, and newer setuptools made them unhashable."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def switch(name: str) -> bool:
    """True if the environment variable is set to anything but 0."""
    return os.environ.get(name, "0") not in ("", "0")


def is_inline(pxd: Path) -> bool:
    """True for a `.pxd` that only holds C inlines for others to cimport."""
    return pxd.read_text(encoding="utf-8").startswith("# inline")


def sources() -> dict[str, Path]:
    """The build list: source file by module name."""
    found = [pxd.with_suffix(".py") for pxd in Path(PACKAGE).rglob("*.pxd") if not is_inline(pxd)]
    if sys.platform == "linux":
        found += Path(PACKAGE).rglob("*.pyx")
    return {".".join(path.with_suffix("").parts): path for path in sorted(found) if path.exists()}


def cimported(path: Path) -> set[str]:
    """Names that `path` and its `.pxd` cimport: module names, and beside them names that may be ones."""
    found: set[str] = set()
    for file in {path, path.with_suffix(".pxd")}:
        if file.suffix == ".py" or not file.exists():
            continue
        for package, names, modules in CIMPORT.findall(file.read_text(encoding="utf-8")):
            listed = [name.split()[0] for name in (names or modules).strip("() ").split(",") if name.strip()]
            found |= {f"{package}.{name}" for name in listed} | {package} if package else set(listed)
    return found


def dependencies(name: str) -> set[Path]:
    """Every file of the package that the C of module `name` is made from."""
    files: set[Path] = set()
    waiting, seen = [name], {name}
    while waiting:
        path = Path(*waiting.pop().split("."))
        own = [file for file in (path.with_suffix(".pyx"), path.with_suffix(".pxd")) if file.exists()]
        files.update(own)
        for other in {found for file in own for found in cimported(file)} - seen:
            if other.startswith(PACKAGE + "."):
                seen.add(other)
                waiting.append(other)
    source = Path(*name.split(".")).with_suffix(".py")
    return files | ({source} if source.exists() else set())


def dependents(names: set[str]) -> set[str]:
    """`names` and every module that cimports one of them: a compiled class cannot stand on an interpreted base."""
    wanted = set(names)
    needs = {name: cimported(path) for name, path in sources().items()}
    while more := {name for name, cimports in needs.items() if cimports & wanted} - wanted:
        wanted |= more
    return wanted


def jobs() -> int:
    """How many modules are translated or compiled at a time."""
    return int(os.environ.get("TRANSPORT_BUILD_JOBS") or os.cpu_count() or 1)


def is_sdist() -> bool:
    """True in an unpacked source distribution, whose C files belong to its sources."""
    return Path("PKG-INFO").exists()


def translate(names: set[str]) -> set[str]:
    """Makes the C files of `names`, only those that changed. Returns the modules whose C file is good."""
    listed = {name: path for name, path in sources().items() if name in names}
    try:
        from Cython.Build import cythonize
    except ImportError:
        if not is_sdist():
            print("transport: Cython is not installed", file=sys.stderr)
            return set()
        return {name for name, path in listed.items() if path.with_suffix(".c").exists()}
    settings = Path(__file__).stat().st_mtime
    for path in listed.values():
        carried = path.with_suffix(".c")
        if carried.exists() and not is_sdist() and carried.stat().st_mtime < settings:
            carried.unlink()  # directives may have changed; Cython looks at the sources only

    def run(workers: int) -> set[str]:
        made = cythonize(
            [Module(name, [str(path)]) for name, path in listed.items()],
            nthreads=workers, exclude_failures=True, quiet=True, compiler_directives=DIRECTIVES,
        )  # fmt: skip
        return {extension.name for extension in made}

    try:
        return run(jobs() if sys.platform == "linux" else 0)
    except (OSError, BrokenProcessPool):
        return run(0)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Holds a lock on the build folder, so that two builds in one tree do not write the same files."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    Path("build").mkdir(exist_ok=True)
    with Path("build", ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class BuildExtensions(build_ext):
    """Translates, compiles, and takes back what cannot work; never raises unless TRANSPORT_REQUIRE_EXT is set."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or jobs()
        self.failed: set[str] = set()
        self.said = False

    def run(self) -> None:
        if switch("TRANSPORT_PURE"):
            return
        with alone():
            if not self.inplace or self.force or self.stale():
                super().run()
                self.take_back()

    def stale(self) -> set[str]:
        """Modules whose built file is missing or older than anything it is made from."""
        settings = Path(__file__).stat().st_mtime
        old: set[str] = set()
        for name in sources():
            built = self.built(name)
            newest = max([settings, *(file.stat().st_mtime for file in dependencies(name))])
            if not built.exists() or built.stat().st_mtime < newest:
                old.add(name)
        return old

    def built(self, name: str) -> Path:
        """Where an in-place build puts module `name`."""
        return Path(*name.split(".")[:-1], self.get_ext_filename(name.rpartition(".")[2]))

    def build_extensions(self) -> None:
        names = set(sources())
        if not self.compiler_works():
            self.failed, self.said = names, True
            print("transport: no working C compiler or no Python headers, so nothing was compiled: "
                  "it runs interpreted, and slower", file=sys.stderr)  # fmt: skip
        else:
            self.failed = dependents(names - translate(names))
        self.give_up_if_required()
        for extension in self.extensions:
            extension.sources = [str(Path(source).with_suffix(".c")) for source in extension.sources]
            if self.compiler.compiler_type == "unix":
                extension.extra_compile_args = list(UNIX_FLAGS)
        everything = self.extensions
        self.extensions = [extension for extension in everything if extension.name not in self.failed]
        super().build_extensions()
        self.extensions = everything
        self.failed = dependents(self.failed)
        self.give_up_if_required()

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            self.failed.add(ext.name)
            print(f"transport: {ext.name} was not compiled: {error}", file=sys.stderr)

    def give_up_if_required(self) -> None:
        """Raises if something could not be built and TRANSPORT_REQUIRE_EXT asks for everything."""
        if self.failed and switch("TRANSPORT_REQUIRE_EXT"):
            raise RuntimeError(f"not compiled, and TRANSPORT_REQUIRE_EXT is set: {', '.join(sorted(self.failed))}")

    def compiler_works(self) -> bool:
        """Compiles and links an empty extension, so that a missing compiler is one message and not one a module."""
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, "probe.c")
            probe.write_text("#include <Python.h>\nint transport_probe(void) { return PY_MAJOR_VERSION; }\n")
            try:
                objects = self.compiler.compile([str(probe)], output_dir=folder, include_dirs=self.include_dirs)
                self.compiler.link_shared_object(objects, str(Path(folder, "probe.out")))
            except Exception:
                return False
        return True

    def take_back(self) -> None:
        """Removes built files that would be imported in place of newer or better Python."""
        suffix = self.get_ext_filename("x")[1:]
        root = Path() if self.inplace else Path(self.build_lib)
        good = set(sources()) - self.failed
        for file in Path(root, PACKAGE).rglob("*" + suffix):
            name = ".".join(file.relative_to(root).parts)[: -len(suffix)]
            if name not in good:
                file.unlink()
        if self.failed and not self.said:
            print(f"transport: these run interpreted: {', '.join(sorted(self.failed))}", file=sys.stderr)

    def copy_extensions_to_source(self) -> None:
        wanted = self.extensions
        self.extensions = [extension for extension in wanted if extension.name not in self.failed]
        super().copy_extensions_to_source()
        self.extensions = wanted


class SourceDistribution(sdist):
    """Carries the generated C, so that an install from it needs no Cython."""

    def run(self) -> None:
        listed = sources()
        for file in Path(PACKAGE).rglob("*.c"):
            if not any(path.with_suffix(".c") == file for path in listed.values()):
                file.unlink()  # left by a module that is compiled no more
        missing = set(listed) - translate(set(listed))
        if missing:
            raise RuntimeError(f"a source distribution carries the C of every module; not translated: {missing}")
        super().run()


def extensions() -> list[Extension]:
    """The extension modules, with their Python sources; `BuildExtensions` translates them when it is their turn."""
    if switch("TRANSPORT_PURE"):
        return []
    return [Module(name, [str(path)], optional=True) for name, path in sources().items()]


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExtensions, "sdist": SourceDistribution})
