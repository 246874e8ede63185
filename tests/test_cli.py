"""The `transport` command."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import runpy
import sys

import pytest

from transport import _build, cli


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "native" not in line)
    assert said["transport"] == _build.VERSION
    assert said["modules"].startswith("compiled " if _build.is_compiled() else ("interpreted ", "partly "))
    assert said["uvloop"] == (importlib.metadata.version("uvloop") if importlib.util.find_spec("uvloop") else "no")


@pytest.mark.parametrize(
    ("built", "said"), [((1, 1), "compiled (2 of 2)"), ((1, 0), "partly"), ((0, 0), "interpreted (0")]
)
def test_speed(built: tuple[int, int], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_build, "modules", lambda: {str(i): bool(part) for i, part in enumerate(built)})
    assert said in cli.describe()


def test_where_things_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ModuleNotFoundError(name)

    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    monkeypatch.setattr(importlib.metadata, "version", unknown)
    lines = cli.describe().splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("native", "uvloop"))] == ["no", "no"]


def test_no_command_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "version" in capsys.readouterr().err


def test_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["transport", "version"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("transport", run_name="__main__")
    assert "python" in capsys.readouterr().out
