"""Compiles the benchmark's C sources on the spot, once for each content, and keeps the result.

It must never load or run what another user may have written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

BUILD_S = 60.0
COMMON = ("-O2", "-std=gnu11")
SHARED = (*COMMON, "-shared", "-fPIC")
"""Flags of a library for `ctypes`."""
PROGRAM = (*COMMON,)
"""Flags of a program of its own."""


class BuildFailed(Exception):
    """No compiler, or one that refused the source; the text has its words."""


def compiler() -> str | None:
    """A C compiler's path."""
    return shutil.which("cc") or shutil.which("gcc")


def digest(source: Path) -> str:
    """Sixteen hexadecimal digits that name the content of `source` and of the headers beside it."""
    content = hashlib.sha256(source.read_bytes())
    for header in sorted(source.parent.glob("*.h")):
        content.update(header.read_bytes())
    return content.hexdigest()[:16]


def built_path(source: Path, flags: tuple[str, ...]) -> Path:
    """Where what is made of `source` is kept, by content.

    Raises:
        PermissionError: the folder is another user's.
    """
    folder = Path(tempfile.gettempdir()) / f"transport-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    name = hashlib.sha256("\0".join((digest(source), *flags)).encode()).hexdigest()[:16]
    return folder / (f"{source.stem}-{name}" + (".so" if "-shared" in flags else ""))


def build(source: Path, flags: tuple[str, ...]) -> Path:
    """Compiles `source` unless that was done before; several processes may do so at once.

    Raises:
        BuildFailed: see there.
    """
    path = built_path(source, flags)
    if path.exists():
        return path
    found = compiler()
    if found is None:
        raise BuildFailed("no C compiler (install gcc)")
    part = path.with_suffix(f".{os.getpid()}")
    try:
        done = subprocess.run(
            [found, *flags, "-o", str(part), str(source)], capture_output=True, text=True, timeout=BUILD_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"{source.name}: {found} took longer than {BUILD_S:g} s") from None
    if done.returncode:
        raise BuildFailed(f"{source.name}: {found} says {done.stderr.strip()[-600:] or done.returncode}")
    part.rename(path)
    return path
