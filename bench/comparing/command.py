"""`python -m bench compare OLD NEW` for two trees, and `python -m bench aa` for one against itself.

Measures ours only, and the blocking floor beside it; the harness is always that of this checkout. It must never leave
a folder behind, nor end well when something of ours became slower.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from math import log
from pathlib import Path
from time import monotonic
from typing import Any

from bench import report, schema
from bench.campaign import Campaign, Request
from bench.cases import LATENCY, THROUGHPUT, Case, latency, throughput
from bench.child import ROOT
from bench.comparing.blocks import FLOOR, NEW, OLD, Block, block_order, sides_of
from bench.comparing.building import build
from bench.comparing.trees import Workspace, resolve
from bench.comparing.turns import Turns
from bench.comparing.verdict import EFFECT_MIN, FASTER, SAME, SLOWER, UNCLEAR, Verdict, series_of, verdict
from bench.peers import all_peers, select
from bench.peers.base import OURS, Peer
from bench.progress import Progress, seconds_text
from bench.runner import FAIL
from bench.statistics import median
from bench.summary import FLOOR_OF
from bench.tables import microseconds, probe_text, rate_text, ratio_text

PEERS = "tcp,udp,rudp"
BLOCKS = 7
BLOCKS_MAX = 30  # of a cell that is still blurred
SHARP = 7.0  # percent that can be told from nothing, at which a cell is no more blurred
TURNS = 5
START_S = 0.9  # of a block's processes, for the estimate only
AA_SHARE = 0.95  # of repetitions that must show no difference
PLACEMENT = "same"  # one core for both ends: a figure moves by 1 % from block to block, with a core each by 5 %

WALL, CPU = "turns", "turns_cpu"  # figures of a round

Cell = tuple[Case, Peer]
Result = dict[str, Any]


@dataclass(slots=True)
class Settings:
    """What to measure, and how long.

    Args:
        cells: each case with a peer of ours. blocks: of fresh processes for each cell. turns: each pair's in a block.
        budget_s: no new pass over the cells begins when it would end later; None for no limit.
        sharp: share of a change that is to be told from nothing; a cell in which it can't be gets more blocks.
        blocks_max: of such a cell.
    """

    cells: list[Cell]
    blocks: int
    turns: int
    timing: Turns
    seed: int
    budget_s: float | None = None
    sharp: float = SHARP / 100
    blocks_max: int = BLOCKS_MAX

    @property
    def estimate_s(self) -> float:
        """Roughly how long it takes."""
        turn = self.timing.ramp + self.timing.seconds + self.timing.tail
        return self.blocks * len(self.cells) * (START_S + 5 * self.turns * turn)


def percent_from(text: str) -> float:
    """0 to 1,000. Raises ValueError."""
    value = float(text)
    if not 0 <= value <= 1000:
        raise ValueError(text)
    return value


def settings_of(options: Any) -> Settings:
    """From the command line. Raises KeyError for a peer that is unknown or not ours."""
    peers = select(options.peers.split(","))
    foreign = [peer.name for peer in peers if peer.kind != OURS]
    if foreign:
        raise KeyError(f"{foreign[0]} is not in the trees; only peers of ours can be compared")
    makes = [make for make in (latency, throughput) if options.modes in (make.__name__, "both")]
    cases = [make(size, options.placement) for size in options.payload for make in makes]
    cells = [(case, peer) for case in cases for peer in peers if peer.supports(case) and not peer.missing()]
    if not cells:
        raise KeyError("no peer can run these payloads")
    timing = Turns(seconds=options.seconds)
    sharp, blocks_max = (options.sharp / 100, options.rounds_max) if options.command == "compare" else (0.0, 0)
    return Settings(cells, options.rounds, options.turns, timing, options.seed, options.budget, sharp, blocks_max)


def floor_of(case: Case, peer: Peer) -> Peer | None:
    """The blocking floor of a peer's family."""
    name = FLOOR_OF.get(peer.scheme)
    floor = all_peers()[name] if name else None
    return floor if floor is not None and floor.supports(case) else None


def run_blocks(settings: Settings, folders: dict[str, Path], rounds: list[Result], progress: Progress) -> str | None:
    """All blocks, appending to `rounds`. Returns why fewer than planned were run; None when all were."""
    began = monotonic()
    done = 0

    def run(number: int, case: Case, peer: Peer) -> None:
        nonlocal done
        sides = sides_of(peer, floor_of(case, peer), folders)
        found = Block(case, sides, number, settings.turns, settings.timing, settings.seed).run()
        for item in found:
            if item["status"] == FAIL:
                progress.say(f"FAIL {item['peer']} at {item['case']}: {item['why']}")
        rounds.extend(found)
        done += 1
        progress.update(done, f"{peer.name} {case.id}")

    def is_over(more: int) -> bool:
        spent = monotonic() - began
        return settings.budget_s is not None and done > 0 and spent + more * spent / done > settings.budget_s

    for number, (case, peer) in block_order(settings.cells, settings.blocks, settings.seed):
        if done % len(settings.cells) == 0 and is_over(len(settings.cells)):
            return f"time budget of {settings.budget_s:.0f} s reached after {number} of {settings.blocks} blocks"
        run(number, case, peer)
    rng = random.Random(settings.seed)
    for number in range(settings.blocks, settings.blocks_max):
        cells = blurred(settings, rounds)
        if not cells:
            return None
        if is_over(len(cells)):
            return (
                f"time budget of {settings.budget_s:.0f} s reached, {len(cells)} cells blurred at {settings.sharp:.0%}"
            )
        if number == settings.blocks:
            progress.say(f"{len(cells)} cells blurred at {settings.sharp:.0%}: to {settings.blocks_max} blocks")
        progress.total = done + len(cells)
        rng.shuffle(cells)
        for case, peer in cells:
            run(number, case, peer)
    return None


def blurred(settings: Settings, rounds: list[Result]) -> list[Cell]:
    """Cells in which a change of `sharp` would not be told from nothing.

    By the width of what is seen alone, and never by where it lies: who goes on until there is an effect finds one.
    """
    if not settings.sharp:
        return []
    wanted = log(1 + max(settings.sharp, EFFECT_MIN))  # less is never told
    found = verdicts(settings.cells, rounds)
    wide = [
        (one.case.id, one.peer.name)
        for one in found
        if one.verdict.floor is not None and one.verdict.decides is not None
        and max(log(1 + one.verdict.floor), (log(one.verdict.decides[1]) - log(one.verdict.decides[0])) / 2) > wanted
    ]  # fmt: skip
    return [(case, peer) for case, peer in settings.cells if (case.id, peer.name) in wide]


def request_for(command: str, settings: Settings) -> Request:
    """For the parts of the result file that all commands share."""
    work: dict[Case, list[str]] = {}
    for case, peer in settings.cells:
        names = work.setdefault(case, [])
        floor = floor_of(case, peer)
        names += [side.label for side in sides_of(peer, None, {OLD: ROOT, NEW: ROOT})]
        if floor and floor.name not in names:
            names.append(floor.name)
    timing = settings.timing
    return Request(command, list(work.items()), settings.blocks, timing.seconds * settings.turns, timing.warmup,
                   settings.seed, settings.budget_s)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """One row of a comparison: a cell, which of its figures, and the word."""

    case: Case
    peer: Peer
    key: str
    verdict: Verdict

    @property
    def title(self) -> str:
        """As in the table: the case, and that it is about CPU time where it is."""
        return self.case.id + (" by CPU" if self.key == CPU else "")


def verdicts(cells: list[Cell], rounds: list[Result]) -> list[Judged]:
    """A word for every figure of every cell; all of them together give as many false alarms as one would.

    Messages are counted by the clock, which sees stalls, and by CPU time, which whatever else runs on the core moves
    much less.
    """
    rows = [(case, peer, key) for case, peer in cells for key in (WALL, CPU) if key == WALL or case.mode == THROUGHPUT]
    return [
        Judged(case, peer, key, verdict(series_of(rounds, case.as_dict(), peer.name, key), len(rows)))
        for case, peer, key in rows
    ]


def figure_of(rounds: list[Result], case: Case, peer: str, tree: str, key: str) -> float | None:
    """Median over blocks of the median turn, in ns or messages a second."""
    values = [
        median(item[key])
        for item in rounds
        if item["case"] == case.id and item["peer"].partition("@")[0] == peer and item["tree"] == tree
        and item["status"] == "OK"
    ]  # fmt: skip
    return median(values) if values else None


def percent(ratio: float) -> str:
    """1.104 -> "+10.4 %"."""
    return f"{100 * (ratio - 1):+.1f} %"


def shown_word(one: Verdict) -> str:
    """The word, and beside it what it would be without blocks that had much steal."""
    return one.word if one.calm_word is None else f"{one.word}; without flagged blocks: {one.calm_word}"


def row_of(one: Judged, rounds: list[Result]) -> tuple[list[str], Result]:
    """A row of the table, and the same as figures for the result file."""
    case, peer, found = one.case, one.peer, one.verdict
    floor = floor_of(case, peer)
    before, after = (figure_of(rounds, case, peer.name, tree, one.key) for tree in (OLD, NEW))
    base = figure_of(rounds, case, floor.name, FLOOR, one.key) if floor else None
    write = microseconds if case.mode == LATENCY else lambda value: "-" if value is None else rate_text(value)
    change = bounds = needed = "-"
    if found.ratio is not None and found.low is not None and found.high is not None and found.floor is not None:
        change, needed = percent(found.ratio), f"{100 * found.floor:.1f} %"
        bounds = f"{100 * (found.low - 1):+.1f} to {100 * (found.high - 1):+.1f}"
    against_floor = ratio_text(after / base if after and base else None)
    shown = [one.title, peer.name, write(before), write(after), change, bounds, needed, against_floor,
             str(found.blocks), shown_word(found)]  # fmt: skip
    figures = {"case": case.id, "peer": peer.name, "figure": one.key, "old": before, "new": after, "floor_figure": base}
    return shown, figures | found.as_dict()


def probe_of(found: list[Judged], rounds: list[Result], title: str) -> Result:
    """What the comparison leaves in the result file: cells to compute with, and the table that is shown."""
    order = {SLOWER: 0, FASTER: 1, UNCLEAR: 2, SAME: 3}
    rows = [row_of(one, rounds) for one in sorted(found, key=lambda one: order[one.verdict.word])]
    head = ["case", "peer", "old", "new", "change", "95 %", "needed", "x floor", "blocks", ""]
    note = (
        "old, new: p50 in us, or messages a second. change: of the time a message takes. needed: an effect must exceed "
        "it, the larger of 3 % and twice the half-width of what the trees show against themselves; the intervals that "
        f"decide are shared by {len(found)} rows."
    )
    table = {"title": title, "head": head, "rows": [row for row, _ in rows], "note": note}
    return {"table": table, "cells": [figures for _, figures in rows]}


def status_of(found: list[Judged], rounds: list[Result]) -> int:
    """1 when something became slower, with or without flagged blocks, or when the new tree failed."""
    slower = any(SLOWER in (one.verdict.word, one.verdict.calm_word) for one in found)
    return int(slower or any(item["status"] == FAIL and item["tree"] == NEW for item in rounds))


def run_trees(options: Any) -> int:
    """`compare` for two commits or folders."""
    settings = settings_of(options)
    sources = {OLD: resolve(options.old), NEW: resolve(options.new)}
    with Workspace() as workspace:
        trees, compiled, donors = {}, {}, [ROOT]
        for name, source in sources.items():
            trees[name] = workspace.unpack(name, source)
            own = [source.folder] if source.folder else []
            compiled[name] = build(trees[name], own + donors, workspace, lambda line: print(line, file=sys.stderr))
            donors.append(trees[name].sources)
        if compiled[OLD] != compiled[NEW]:
            print(f"compiled: old {compiled[OLD]}, new {compiled[NEW]}", file=sys.stderr)
        told = {name: {"commit": source.commit, "title": source.title, "compiled": compiled[name]}
                for name, source in sources.items()}  # fmt: skip
        title = f"new: {sources[NEW].title}\nagainst old: {sources[OLD].title}"
        return measure(options, settings, {name: tree.path for name, tree in trees.items()}, told, title)


def measure(options: Any, settings: Settings, folders: dict[str, Path], told: Result, title: str) -> int:
    """Runs the blocks, judges, prints, writes; keeps what there is when interrupted."""
    campaign = Campaign(request_for(options.command, settings))
    interrupted = False
    with Progress("compare", settings.blocks * len(settings.cells)) as progress:
        progress.say(f"{settings.blocks} blocks of {len(settings.cells)} cells, "
                     f"about {seconds_text(settings.budget_s or settings.estimate_s)}")  # fmt: skip
        try:
            campaign.why_incomplete = run_blocks(settings, folders, campaign.rounds, progress)
        except KeyboardInterrupt:
            interrupted = True
            campaign.why_incomplete = f"interrupted after {len(campaign.rounds)} rounds"
    if not campaign.rounds:
        print("interrupted before anything was measured", file=sys.stderr)
        return 130
    found = verdicts(settings.cells, campaign.rounds)
    campaign.probes["comparison"] = probe_of(found, campaign.rounds, title)
    data = campaign.result() | {"trees": told}
    data["tool"]["command"] = f"python -m bench {options.command}"  # without names of folders
    path = options.json or campaign.default_path()
    schema.save(data, path)
    print(probe_text(campaign.probes["comparison"]["table"]))
    if campaign.why_incomplete:
        print(f"\nINCOMPLETE: {campaign.why_incomplete}")
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    print(f"\nresult  {shown}")
    if not options.no_html:
        path.with_suffix(".html").write_text(report.html(data), encoding="utf-8")
        print(f"report  {shown.with_suffix('.html')}")
    return 130 if interrupted else status_of(found, campaign.rounds)


def run_aa(options: Any) -> int:
    """`aa`: this checkout as old and as new, again and again. 0 when enough repetitions show no difference.

    Each with as many blocks as were asked for: more of them would only make a difference less likely.
    """
    settings = settings_of(options)
    quiet = 0
    for repetition in range(options.repetitions):
        rounds: list[Result] = []
        settings.seed = options.seed + repetition
        with Progress(f"repetition {repetition + 1}", settings.blocks * len(settings.cells)) as progress:
            run_blocks(settings, {OLD: ROOT, NEW: ROOT}, rounds, progress)
        found = verdicts(settings.cells, rounds)
        loud = [f"{one.peer.name} {one.title} {shown_word(one.verdict)} {percent(one.verdict.ratio or 1)}"
                for one in found if one.verdict.word != SAME]  # fmt: skip
        quiet += not loud
        widest = max((abs((one.verdict.ratio or 1) - 1) for one in found), default=0.0)
        print(f"repetition {repetition + 1}: {'; '.join(loud) or SAME}; largest {100 * widest:.1f} %", flush=True)
    print(f"{quiet} of {options.repetitions} repetitions: {SAME}")
    return int(quiet < AA_SHARE * options.repetitions)
