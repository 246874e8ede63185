"""`python -m tests.soak SEED...` plays scenarios, with progress; see `--help`. `make sim` calls it."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.soak import minimise
from tests.soak.run import Run
from tests.soak.scenario import IMPAIRMENTS


def numbers(text: str) -> list[int]:
    """`7`, `1-20`, `3,5,9-12`."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        found += range(int(low), int(high) + 1) if dash else [int(low)]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("seeds", type=numbers, help="7, 1-500, 3,5,9-12")
    parser.add_argument("--only", type=numbers, help="play these actions of the scenario alone, by index")
    parser.add_argument("--without", type=lambda text: text.split(","), default=[],
                        help="leave impairments out: " + ",".join(IMPAIRMENTS))  # fmt: skip
    parser.add_argument("--scale", type=int, default=1, help="times as much is sent")
    parser.add_argument("--raw", action="store_true", help="a failure's traceback in place of its smallest form")
    parser.add_argument("--quiet", action="store_true", help="no line for each seed")
    parser.add_argument("--lines", type=int, default=0, help="print so many last lines of a failure's trace")
    given = parser.parse_args(arguments)
    total: Counter[str] = Counter()
    failed = []
    began = time.perf_counter()
    for seed in given.seeds:
        scenario = minimise.Cut(seed, given.scale, given.only, tuple(given.without)).scenario()
        if len(given.seeds) == 1:
            print("\n".join(scenario.lines()))
            for index, action in enumerate(scenario.actions[:200]):
                print(f"    {index}: {action}")
        started = time.perf_counter()
        run = Run(scenario, keep=given.lines)
        try:
            run.play()
        except Exception as error:
            if given.raw:
                print("\n".join(run.network.trace.lines()))
                raise
            failed.append(seed)
            print(f"seed {seed} FAILED: {type(error).__name__}: {error}", flush=True)
            print(minimise.report(seed, given.scale, given.only, tuple(given.without)), flush=True)
            continue
        total.update(run.summary)
        total["seeds"] += 1
        if not given.quiet:
            figures = " ".join(f"{name} {value:,}" for name, value in run.summary.items())
            print(f"seed {seed} {run.digest()[:16]} {time.perf_counter() - started:.2f} s {figures}", flush=True)
    spent = time.perf_counter() - began
    print(f"{total['seeds']} seeds passed, {len(failed)} failed {failed or ''}, {total['packets']:,} packets, "
          f"{total['messages']:,} messages, {total['bytes']:,} bytes, {total['unopened']} never opened, "
          f"{total['virtual_ms'] / 1000:,.0f} virtual seconds in {spent:.1f} s")  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
