"""Which open-loop cases belong together, and who may be called best in one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench import ranking, series, tables
from bench.cases import POISSON, Case, open_loop, replay
from bench.link.model import Link
from bench.summary import ANY_ORDER, IN_ORDER, MAY_LOSE, Cell, messages_planned, payload_mean, summarize
from bench.sweeps import SWEEPS, grid, rates
from bench.trace.model import Recorded
from tests.bench import results

POINT = Link(delay_ms=25.0, loss=0.01)


def found(cases: list[Case]) -> list[series.Family]:
    return series.families([case.as_dict() | {"peers": []} for case in cases])


def test_a_grid_is_one_family_with_a_panel_for_each_round_trip_time() -> None:
    (family,) = found(grid([64], [20.0, 50.0], [0.0, 0.01, 0.05]))
    assert family.axis.name == "loss"
    assert [name for name, _ in family.panels] == ["RTT 20 ms", "RTT 50 ms"]
    assert family.values == [0.0, 1.0, 5.0]
    assert family.title == "64 B, 10 connections of 100 messages a second"


def test_payloads_are_families_of_their_own() -> None:
    assert [family.title.split(",")[0] for family in found(grid([64, 1024], [20.0], [0.0, 0.01]))] == ["64 B", "1 KB"]


@pytest.mark.parametrize("name", sorted(SWEEPS))
def test_every_series_of_the_command_line_is_found_whole(name: str) -> None:
    cases = SWEEPS[name].cases()
    families = found(cases)
    best = max(families, key=lambda family: len(family.cases))
    assert {case["id"] for case in best.cases} == {case.id for case in cases}, [one.axis.name for one in families]
    expected = {"poisson": "rate", "link-payload": "payload", "narrow": "link rate"}.get(name, name)
    assert best.axis.name == expected
    assert len(series.tabled([case.as_dict() | {"peers": []} for case in cases])) == 1


def test_all_series_at_once_leave_no_case_without_a_table() -> None:
    cases = [case for sweep in SWEEPS.values() for case in sweep.cases()] + grid([64, 1024], [20.0, 50.0], [0.0, 0.01])
    unique = [case.as_dict() | {"peers": []} for case in {case.id: case for case in cases}.values()]
    within = {case["id"] for family in series.tabled(unique) for case in family.cases}
    alone = {case["id"] for case in series.alone(unique)}
    assert within | alone == {case["id"] for case in unique}
    assert not within & alone
    for family in series.families(unique):
        assert all(len({value for value, _ in points}) == len(points) for _, points in family.panels)


def test_arrivals_connections_and_links_are_not_mixed() -> None:
    mixed = [
        *rates(64, [100.0, 200.0]),
        *rates(64, [100.0, 200.0], arrival=POISSON),
        *rates(64, [100.0, 200.0], connections=7),
        open_loop(64, 300.0, 1, link=POINT),
    ]
    families = [family for family in found(mixed) if family.axis.name == "rate"]
    assert [len(family.cases) for family in families] == [2, 2, 2]


def test_a_field_that_is_not_known_here_keeps_cases_apart() -> None:
    cases = [case.as_dict() | {"peers": [], "trace": name} for case, name in
             zip(rates(64, [100.0, 200.0]), "ab", strict=True)]  # fmt: skip
    assert series.families(cases) == []
    assert len(series.alone(cases)) == 2


def test_queues_of_narrow_links_are_panels() -> None:
    (family,) = [one for one in found(SWEEPS["narrow"].cases()) if one.axis.name == "link rate"]
    assert [name for name, _ in family.panels] == [f"queue of {share} bandwidth-delay products" for share in
                                                   ("0.5", "1", "4")]  # fmt: skip


# Ranking -------------------------------------------------------------------------------------------------------------
CASE = open_loop(64, 100.0, 10, link=replace(POINT, loss=0.05))


def cells_of(**tails: Any) -> list[Cell]:
    """Cells of one case whose peers have these tails; a tail of None is a failed round."""
    data = results.open_result()
    data["cases"] = [CASE.as_dict() | {"peers": [name.replace("_", "-") for name in tails]}]
    data["rounds"] = []
    for name, tail in tails.items():
        peer = name.replace("_", "-")
        data["rounds"].append(
            results.failed_round(CASE.id, peer, 0, "gone")
            if tail is None
            else results.open_round(CASE, peer, 0, tail=tail)
        )
    return summarize(data)[CASE.id]


def names(cells: list[Cell]) -> list[str]:
    return [cell.peer["id"] for cell in cells]


def test_only_those_who_promise_the_same_are_ranked_together() -> None:
    cells = cells_of(tcp=3.0, rudp=1.0, rudp_unordered=0.5, rudp_unreliable=0.1, pyzmq=2.0)
    assert names(ranking.ranked(cells, IN_ORDER)) == ["rudp", "pyzmq", "tcp"]
    assert names(ranking.ranked(cells, ANY_ORDER)) == ["rudp-unordered"]
    assert names(ranking.ranked(cells, MAY_LOSE)) == ["rudp-unreliable"]
    assert names(ranking.ranked(cells))[0] == "rudp-unreliable"


def test_neither_floors_nor_those_who_failed_are_ranked() -> None:
    cells = cells_of(blocking_tcp=0.0, pyzmq=None, tcp=1.0)
    assert names(ranking.ranked(cells)) == ["tcp"]
    assert {cell.peer["id"]: cell.status for cell in cells} == {"blocking-tcp": "OK", "pyzmq": "FAIL", "tcp": "OK"}


@pytest.mark.parametrize(("tails", "word"), [
    ({"rudp": 1.0, "pyzmq": 1.01}, "level"), ({"rudp": 1.0, "pyzmq": 3.0}, "lowest"),
    ({"rudp": 3.0, "pyzmq": 1.0}, "higher"), ({"rudp": 1.0, "pyzmq": None}, "alone"),
])  # fmt: skip
def test_words_for_how_ours_do(tails: dict[str, Any], word: str) -> None:
    found = ranking.standing(CASE.as_dict(), cells_of(**tails))
    assert found is not None
    assert found.word == word


def test_nobody_is_best_where_nobody_has_a_figure() -> None:
    assert ranking.standing(CASE.as_dict(), cells_of(rudp=None, pyzmq=None)) is None
    assert tables.best_of(cells_of(rudp=None, pyzmq=None)) == set()


# Figures of a cell ---------------------------------------------------------------------------------------------------
def test_what_crossed_the_link_is_divided_by_all_messages_of_the_plan() -> None:
    (cell,) = cells_of(rudp=1.0)
    planned = 1000 * (0.5 + 1.0 + 0.16)  # warm-up, measured, tail of 16 messages of each connection
    assert cell.wire_packets == pytest.approx(1000 * 2.5 * 2.0 * 1.5 / planned, rel=0.01)
    assert cell.wire_bytes == pytest.approx(150 * 1000 * 2.5 * 2.0 * 1.5 / planned, rel=0.01)
    assert cell.link_late == results.LINK_LATE_NS


def test_share_within_a_deadline_counts_what_was_lost_as_late() -> None:
    data = results.open_result()
    data["cases"] = [CASE.as_dict() | {"peers": ["rudp-unreliable"]}]
    data["rounds"] = [results.open_round(CASE, "rudp-unreliable", 0, tail=2.0, lost=400)]
    (cell,) = summarize(data)[CASE.id]
    assert cell.guarantee == MAY_LOSE
    assert cell.share_within(60e6) == pytest.approx((4000 - 400 - 160) / 4000)
    assert cell.share_within(100e6) == pytest.approx(0.9)
    assert cell.within == pytest.approx(0.9)
    assert cell.share_within(1e6) == 0


@pytest.mark.parametrize(("loop", "planned"), [(False, 600.0), (True, 2000.0)])
def test_recorded_traffic_is_counted_by_its_own_length(loop: bool, planned: float) -> None:
    trace = Recorded("calls.jsonl", "0" * 64, 600, 180_000, 16, 1400, 2, 3.0, length_s=10.0 if loop else 3.0, loop=loop)
    case = replay(trace, POINT)
    assert messages_planned(case.as_dict(), {"warmup": 1.0, "seconds": 3.0}) == pytest.approx(planned)
    assert payload_mean(case.as_dict()) == 300
    cases = [replay(trace, replace(POINT, loss=loss)) for loss in (0.0, 0.02)]
    (family,) = found(cases)
    assert family.axis.name == "loss"
    assert family.title.startswith("recorded traffic calls.jsonl")
