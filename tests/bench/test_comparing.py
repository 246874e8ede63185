"""Two trees side by side: words from made figures, trees that are had and removed, and one small run of everything."""

from __future__ import annotations

import math
import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import cli, schema
from bench.comparing import blocks, building, command, trees
from bench.comparing.janitor import remove
from bench.comparing.trees import TreeError, Workspace, resolve
from bench.comparing.verdict import FASTER, SAME, SLOWER, UNCLEAR, Series, series_of, verdict

BLOCKS = 8
RUNS = 20


def made(rng: random.Random, effect: float = 0.0, spread: float = 0.01, count: int = BLOCKS) -> Series:
    effects = [rng.gauss(math.log(1 + effect), spread) for _ in range(count)]
    return Series(effects, [rng.gauss(0, spread) for _ in range(count)], [False] * count)


@pytest.mark.slow
def test_ten_percent_are_found_and_nothing_else(rng: random.Random) -> None:
    slower = [verdict(made(rng, 0.10), 9).word for _ in range(RUNS)]
    assert slower.count(SLOWER) >= RUNS - 1
    assert verdict(made(rng, -0.10), 9).word == FASTER
    same = [verdict(made(rng), 9).word for _ in range(RUNS)]
    assert same.count(SAME) == RUNS
    noisy = [verdict(made(rng, spread=0.08), 9).word for _ in range(RUNS)]
    assert noisy.count(SAME) >= RUNS - 2, "noise of the machine raises what an effect must exceed"


def test_small_effects_are_not_named_however_sure_they_are(rng: random.Random) -> None:
    found = verdict(made(rng, 0.02, spread=0.0005))
    assert found.low is not None and found.low > 1
    assert found.word == SAME


def test_a_few_blocks_are_too_few(rng: random.Random) -> None:
    found = verdict(made(rng, 1.0, count=5))
    assert (found.word, found.ratio, found.blocks) == (UNCLEAR, None, 5)


def test_the_word_without_flagged_blocks_is_given_where_it_differs() -> None:
    calm = Series(
        [0.01, -0.01, 0.02, -0.02, 0.005, -0.005, 0.0], [0.01, -0.01, 0.02, -0.02, 0.0, 0.01, -0.01], [False] * 7
    )
    stolen = Series(calm.effects + [0.5] * 8, calm.noise + [0.0] * 8, [False] * 7 + [True] * 8)
    found = verdict(stolen)
    assert (found.word, found.calm_word, found.flagged) == (SLOWER, SAME, 8)
    assert verdict(calm).calm_word is None
    one = command.Judged(command.latency(64), command.all_peers()["tcp"], command.WALL, found)
    assert command.shown_word(found) == "slower; without flagged blocks: no difference shown"
    assert command.status_of([one], []) == 1


def a_side(tree: str, pair: int, turns: list[float], block: int = 0, status: str = "OK") -> dict[str, Any]:
    return {"case": "latency-64", "peer": f"tcp@{tree}.{pair}", "tree": tree, "pair": pair, "block": block,
            "turns": turns, "status": status, "flagged": False}  # fmt: skip


def test_turns_are_paired() -> None:
    """The machine gets three times slower in the second turn; the effect of 10 % is seen in each."""
    rounds = [a_side("old", 0, [10.0, 30.0]), a_side("old", 1, [10.0, 30.0]), a_side("new", 0, [11.0, 33.0]),
              a_side("new", 1, [11.0, 33.0])]  # fmt: skip
    case = {"id": "latency-64", "mode": "latency"}
    series = series_of(rounds, case, "tcp")
    assert series.effects == pytest.approx([math.log(1.1)])
    assert series.noise == pytest.approx([0.0])
    assert series_of(rounds, case | {"mode": "throughput"}, "tcp").effects == pytest.approx([-math.log(1.1)])
    rounds[0]["status"] = "FAIL"
    assert series_of(rounds, case, "tcp").effects == []


def test_what_is_no_tree_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    result.write_text("{}")
    for old, new, why in (
        ("no-such-commit", "HEAD", "'no-such-commit' is no commit here"),
        (str(tmp_path), "HEAD", "there is no transport/ in the folder"),
        (str(result), "HEAD", "a result file can only be compared with another"),
        ("--upload-pack=x", "HEAD", ""),
    ):
        arguments = ["compare", old, new] if why else ["compare", "--", old, new]
        assert cli.main(arguments) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert why in err
    assert cli.main(["compare", "HEAD", "HEAD", "--peers", "blocking-tcp"]) == 2
    assert "only peers of ours" in capsys.readouterr().err


def a_tree(folder: Path, extra: str = "") -> Path:
    """A tree whose package is this one's, imported from where it lies, after `extra` has run."""
    package = folder / "transport"
    package.mkdir(parents=True)
    real = Path(blocks.ROOT, "transport")
    (package / "__init__.py").write_text(
        f"__path__.append({str(real)!r})\n"
        f"exec(compile(open({str(real / '__init__.py')!r}).read(), {str(real / '__init__.py')!r}, 'exec'))\n{extra}"
    )
    return folder


SLOW = (
    "import time\n"
    "from transport import Protocol as _Protocol\n"
    "class Protocol(_Protocol):\n"
    "    def __init_subclass__(cls):\n"
    "        old = cls.message_received\n"
    "        def message_received(self, message, channel):\n"
    "            until = time.perf_counter_ns() + 60_000\n"
    "            while time.perf_counter_ns() < until: pass\n"
    "            old(self, message, channel)\n"
    "        cls.message_received = message_received\n"
)


@pytest.mark.slow
@pytest.mark.timeout(60)  # thirty rounds of real processes: 8 s alone, and all of it waits for the processor
def test_a_slower_folder_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = a_tree(tmp_path / "old"), a_tree(tmp_path / "new", SLOW)
    path = tmp_path / "result.json"
    before = sorted(str(file) for file in tmp_path.rglob("*"))
    status = cli.main(["compare", str(old), str(new), "--peers", "tcp", "--rounds", "6", "--turns", "2", "--seconds",
                       "0.01", "--placement", "same", "--json", str(path), "--modes", "latency", "--sharp",
                       "0"])  # fmt: skip
    out = capsys.readouterr().out
    assert status == 1, out
    data = schema.load(path)
    (cell,) = data["probes"]["comparison"]["cells"]
    assert (cell["word"], cell["blocks"], cell["calm_word"]) == (SLOWER, 6, cell["calm_word"])
    assert cell["ratio"] > 1.5
    assert cell["low"] <= cell["ratio"] <= cell["high"]
    assert set(data["trees"]) == {"old", "new"}
    assert str(tmp_path) not in path.read_text(), "a path says much about a machine"
    assert {item["peer"] for item in data["rounds"]} == {
        "tcp@old.0", "tcp@old.1", "tcp@new.0", "tcp@new.1", "blocking-tcp"}  # fmt: skip
    assert all(len(item["turns"]) == 2 for item in data["rounds"])
    after = sorted(str(file) for file in tmp_path.rglob("*") if "__pycache__" not in str(file))
    assert after == sorted([*before, str(path), str(path.with_suffix(".html"))])
    assert cli.main(["report", str(path), "--html", str(tmp_path / "page.html")]) == 0


def test_a_folder_of_the_wrong_package_is_not_measured(tmp_path: Path) -> None:
    code = "import sys; from bench.worker import check_tree; check_tree(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(a_tree(tmp_path / "other"))], cwd=blocks.ROOT, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "ImportError: transport would be imported from" in done.stderr


def test_nothing_stays_after_a_kill(tmp_path: Path) -> None:
    source = a_tree(tmp_path / "tree")
    code = (
        "import signal, sys\nfrom bench.comparing.trees import Workspace, resolve\n"
        "import subprocess\n"
        "space = Workspace()\nspace.unpack('old', resolve(sys.argv[1]))\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\nspace.watch(child.pid)\n"
        "print(space.folder, child.pid, space._janitor.pid, flush=True)\nsignal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(source)], stdout=subprocess.PIPE, text=True,
                          cwd=blocks.ROOT) as parent:  # fmt: skip
        assert parent.stdout is not None
        folder, child, janitor = parent.stdout.readline().split()
        assert (Path(folder) / "old" / "path" / "transport" / "__init__.py").exists()
        watched = [os.pidfd_open(int(pid)) for pid in (child, janitor)]
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    try:
        for descriptor in watched:
            assert select.select([descriptor], [], [], 10)[0], "still running"
    finally:
        for descriptor in watched:
            os.close(descriptor)
    assert not Path(folder).exists()
    assert (source / "transport" / "__init__.py").exists(), "what the links point to stays"


def test_a_commit_is_unpacked_and_removed() -> None:
    before = trees.git("worktree", "list")
    with Workspace() as space:
        tree = space.unpack("old", resolve("HEAD"))
        assert (tree.path / "transport" / "__init__.py").is_file()
        assert (tree.path / "bench").resolve() == blocks.ROOT / "bench"
        assert trees.git("worktree", "list") == before
    assert not space.folder.exists()


def test_modules_are_taken_over_only_from_the_same_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "asked", lambda *_: ["3", ".so", "lib"])
    monkeypatch.setattr(building, "listed", lambda _python, folder: {
        name: (Path(f"{name}.py"), [Path(f"{name}.py")]) for name in ("same", "other", "stale")})  # fmt: skip
    tree, donor = tmp_path / "tree", tmp_path / "donor"
    for folder in (tree, donor):
        folder.mkdir()
        for name in ("setup", "same", "other", "stale"):
            (folder / f"{name}.py").write_text(name if name != "other" else str(folder))
            os.utime(folder / f"{name}.py", (1000, 1000))
    for name in ("same", "other", "stale"):
        for suffix in (".c", ".so"):
            (donor / (name + suffix)).write_text(name)
    os.utime(donor / "stale.so", (10, 10))
    assert building.take_over("python", tree, donor) == 1
    assert sorted(file.name for file in tree.glob("*.so")) == ["same.so"]
    (donor / "setup.py").write_text("another build")
    (tree / "same.so").unlink()
    assert building.take_over("python", tree, donor) == 0


def test_removing_ends_who_still_writes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    code = "import sys, pathlib\nwhile True: pathlib.Path(sys.argv[1]).mkdir(exist_ok=True)"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], start_new_session=True) as writer:
        assert remove(str(folder), {writer.pid})
        assert writer.wait() == -signal.SIGKILL


def test_a_commit_that_does_not_import_is_a_clear_error(tmp_path: Path) -> None:
    broken = tmp_path / "tree" / "transport"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError\n")
    said: list[str] = []
    with Workspace() as space:
        tree = space.unpack("new", resolve(str(tmp_path / "tree")))
        with pytest.raises(TreeError, match="new: `import transport` fails"):
            building.build(tree, [], space, said.append)


def test_a_blurred_cell_gets_more_blocks(monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
    """And no other, and up to a bound; the effect has no say in it."""
    latency, throughput = command.latency(64), command.throughput(64)
    ran: list[str] = []

    class Fake:
        def __init__(self, case: Any, sides: list[Any], number: int, *_more: Any) -> None:
            self.case, self.number = case, number

        def run(self) -> list[dict[str, Any]]:
            ran.append(self.case.id)
            spread = 0.1 if self.case == latency else 0.001
            return [
                a_side(tree, pair, [math.exp(rng.gauss(0, spread)) * (1.5 if tree == "new" else 1.0)], self.number)
                | {"case": self.case.id, "turns_cpu": [1.0]}
                for tree in ("old", "new") for pair in range(2)
            ]  # fmt: skip

    monkeypatch.setattr(command, "Block", Fake)
    cells = [(case, command.all_peers()["tcp"]) for case in (latency, throughput)]
    settings = command.Settings(cells, 6, 1, command.Turns(), 1, sharp=0.02, blocks_max=9)
    folders = {"old": Path(), "new": Path()}
    with command.Progress("test", 12) as progress:
        assert command.run_blocks(settings, folders, [], progress) is None
        assert (ran.count(latency.id), ran.count(throughput.id)) == (9, 6)
        settings.sharp = 0.0
        ran.clear()
        command.run_blocks(settings, folders, [], progress)
        assert (ran.count(latency.id), ran.count(throughput.id)) == (6, 6)
        settings.sharp, settings.budget_s = 0.02, 1e-9
        assert "time budget" in str(command.run_blocks(settings, folders, [], progress))


@pytest.mark.slow
def test_a_checkout_against_itself_counts_repetitions(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["aa", "--peers", "tcp", "--modes", "latency", "--repetitions", "2", "--rounds", "2", "--turns",
                       "1", "--seconds", "0.01"])  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert status == 1, "two blocks tell nothing, and that is no success"
    assert "too few rounds" in lines[0]
    assert lines[-1] == "0 of 2 repetitions: no difference shown"
