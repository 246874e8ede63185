"""Words between the peers of one run: each against the best of ours, or against a chosen peer, block by block.

The rule is that of `bench.comparing.verdict`; noise is what one peer shows against itself in the same blocks. It must
never say a word about a preview, nor with fewer blocks than `BLOCKS_MIN`.
"""

from __future__ import annotations

from math import log
from typing import Any

from bench.cases import THROUGHPUT
from bench.comparing.verdict import UNCLEAR, Series, Verdict, verdict
from bench.statistics import median
from bench.summary import by_block

BLOCKS_MIN = 10  # a round of fresh processes moves more than the turns of a block do
AGAIN = "@again"

Result = dict[str, Any]


def reference_of(data: Result, case: Result, chosen: str | None) -> str | None:
    """Against whom: the chosen peer, or the fastest of ours; None where it has no good round."""
    ours = [peer["id"] for peer in data["peers"] if peer["kind"] == "ours"]
    names = [name for name in case["peers"] if (name == chosen if chosen else name in ours)]
    figures = {name: by_block(data["rounds"], case["id"], name) for name in names}
    medians = {name: median(found.values()) for name, found in figures.items() if found}
    if not medians:
        return None
    best, *_ = sorted(medians, key=lambda name: medians[name], reverse=case["mode"] != "latency")
    return str(best)


def series_between(data: Result, case: Result, peer: str, reference: str, noise: list[dict[int, float]]) -> Series:
    """Logs of time a message takes, `peer` over `reference`, of the blocks in which both were well."""
    sign = -1.0 if case["mode"] == THROUGHPUT else 1.0
    above, below = (by_block(data["rounds"], case["id"], name) for name in (peer, reference))
    flagged = {
        item["block"]
        for item in data["rounds"]
        if item["case"] == case["id"] and item["peer"] in (peer, reference) and item["flagged"]
    }
    blocks = sorted(above.keys() & below.keys())
    again = [log(noise[0][at] / noise[1][at]) for at in blocks if all(at in one for one in noise)] if noise else []
    if len(again) != len(blocks):
        again = []
    return Series([sign * log(above[at] / below[at]) for at in blocks], again, [at in flagged for at in blocks])


def words(data: Result, chosen: str | None = None) -> list[tuple[Result, str, str, Verdict]]:
    """(case, peer, reference, word) for every peer of every case."""
    found = []
    for case in data["cases"]:
        reference = reference_of(data, case, chosen)
        if reference is None:
            continue
        pair = next((name for name in case["peers"] if name.endswith(AGAIN)), None)
        names = (pair, pair.removesuffix(AGAIN)) if pair else ()
        noise = [by_block(data["rounds"], case["id"], name) for name in names]
        others = [name for name in case["peers"] if "@" not in name and name != reference]
        for name in others:
            series = series_between(data, case, name, reference, noise)
            found.append((case, name, reference, verdict(series, max(1, len(others)), BLOCKS_MIN)))
    return found


def probe_of(data: Result, chosen: str | None = None) -> Result | None:
    """The table and its figures for the result file; None for a preview, or where there is nobody to compare with."""
    found = [] if data["preview"] else words(data, chosen)
    if not found:
        return None
    rows, cells = [], []
    for case, peer, reference, one in found:
        has = one.ratio is not None and one.low is not None and one.high is not None and one.floor is not None
        word = f"{one.word}, a preview" if one.word == UNCLEAR else one.word
        if one.calm_word:
            word += f"; without flagged rounds: {one.calm_word}"
        rows.append([
            case["id"], peer, reference,
            f"{one.ratio:.3f}" if has else "-", f"{one.low:.3f} to {one.high:.3f}" if has else "-",
            f"{100 * (one.floor or 0):.1f} %" if has else "-", str(one.blocks), word,
        ])  # fmt: skip
        cells.append({"case": case["id"], "peer": peer, "against": reference} | one.as_dict())
    note = (
        f"ratio: of the time a message takes, by blocks. Words need {BLOCKS_MIN} blocks, an interval (shared by the "
        "peers of a case) without 1, and an effect over what is needed: 3 %, or twice the A/A half-width."
    )
    head = ["case", "peer", "against", "ratio", "95 %", "needed", "blocks", ""]
    shown = {"title": "against the best of ours" if not chosen else f"against {chosen}", "head": head, "rows": rows,
             "note": note}  # fmt: skip
    return {"table": shown, "cells": cells}
