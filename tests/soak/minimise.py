"""Looks for the smallest part of a scenario that still fails, and says how to play it again.

A part is a seed, the indexes of the actions that are played, and the impairments that are left out: short enough for
a command line.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from tests.soak.run import Run
from tests.soak.scenario import IMPAIRMENTS, Scenario, generate, only, without

SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a scenario."""

    seed: int
    scale: int = 1
    kept: list[int] | None = None
    left_out: tuple[str, ...] = ()

    def scenario(self) -> Scenario:
        found = without(generate(self.seed, self.scale), self.left_out)
        return found if self.kept is None else only(found, self.kept)

    def failure(self) -> str:
        """How it fails; empty when it does not."""
        try:
            Run(self.scenario()).play()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def command(self) -> str:
        """What plays it again."""
        parts = ["TRANSPORT_PURE=1"] if os.environ.get("TRANSPORT_PURE") == "1" else []
        parts.append(f"make sim SEED={self.seed}")
        options = []
        if self.scale != 1:
            options.append(f"--scale {self.scale}")
        if self.left_out:
            options.append("--without " + ",".join(self.left_out))
        if self.kept is not None:
            options.append("--only " + _spans(self.kept))
        if options:
            parts.append(f'ARGS="{" ".join(options)}"')
        return " ".join(parts)


def _spans(indexes: list[int]) -> str:
    """1,2,3,7 as 1-3,7."""
    parts: list[list[int]] = []
    for index in indexes:
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in parts)


def smallest(cut: Cut, seconds: float = SECONDS) -> tuple[Cut, str]:
    """The smallest part found within `seconds` of real time that fails in any way, and how it does."""
    end = time.monotonic() + seconds
    why = cut.failure()
    if not why:
        return cut, why
    for name in IMPAIRMENTS:
        if time.monotonic() < end and name not in cut.left_out:
            smaller = replace(cut, left_out=(*cut.left_out, name))
            found = smaller.failure()
            if found:
                cut, why = smaller, found
    kept = list(range(len(generate(cut.seed, cut.scale).actions))) if cut.kept is None else cut.kept
    size = max(1, len(kept) // 2)
    while kept and time.monotonic() < end:
        place = 0
        shrunk = False
        while place < len(kept) and time.monotonic() < end:
            fewer = kept[:place] + kept[place + size :]
            smaller = replace(cut, kept=fewer)
            found = smaller.failure()
            if found:
                kept, cut, why, shrunk = fewer, smaller, found, True
            else:
                place += size
        if size == 1 and not shrunk:
            break
        size = max(1, size // 2)
    return cut, why


def report(seed: int, scale: int = 1, kept: list[int] | None = None, left_out: tuple[str, ...] = (),
           seconds: float = SECONDS) -> str:  # fmt: skip
    """A failure's smallest form, for people."""
    cut, why = smallest(Cut(seed, scale, kept, left_out), seconds)
    if not why:
        return "it did not fail again"
    scenario = cut.scenario()
    lines = [f"smallest form, {len(scenario.actions)} actions: {why}", *scenario.lines()]
    lines += [f"    {action}" for action in scenario.actions[:20]]
    return "\n".join([*lines, f"repeat with: {cut.command()}"])
