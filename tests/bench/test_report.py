"""Tables, Markdown, the README block and the HTML page, all from one known result."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import bars, report, tables
from bench.cases import open_loop
from bench.lateness import link_may_ns, sender_may_ns
from bench.link.model import Link
from bench.report import lines, plots, svg
from bench.summary import summarize
from tests.bench import results

BAR = bars.Bar("tcp-64", "tcp / pyzmq", (results.SMALL, "tcp"), (results.SMALL, "pyzmq"), ">=", 4.5)


@pytest.fixture
def data() -> dict[str, Any]:
    found = results.result()
    found["environment"]["sysctl"]["net.ipv4.tcp_congestion_control"] = "bbr"
    found["bars"] = [bars.judge(BAR, found["rounds"])]
    return found


def test_cells_are_medians_over_rounds(data: dict[str, Any]) -> None:
    cells = {cell.peer["id"]: cell for cell in summarize(data)[results.LATENCY.id]}
    tcp = cells["tcp"]
    assert tcp.value == pytest.approx(22_000, rel=0.01)
    assert tcp.high == pytest.approx(52_000, rel=0.01)
    assert len(tcp.flagged) == 1
    assert tcp.quiet == pytest.approx(22_000, rel=0.01)
    assert tcp.x_floor == pytest.approx(22 / 12, rel=0.01)
    assert tcp.cpu_ns == pytest.approx(4000)
    assert tcp.switches == pytest.approx(1.005)
    assert cells["unix"].value is None
    assert len(cells["unix"].failed) == 3
    assert len(tcp.histogram) > 3


def test_text_fits_a_terminal_and_hides_nothing(data: dict[str, Any]) -> None:
    text = tables.report_text(data)
    assert max(map(len, text.splitlines())) <= tables.WIDTH
    for part in ("PREVIEW", "FAIL", "1 of 3 rounds over 4 % steal", "without them 22.0", "pip install picows", "3.0",
                 "control: bbr over loopback.", "server: <nothing> & more", "4.00 M", "PASS"):  # fmt: skip
        assert part in " ".join(text.split()), part


def test_columns_line_up() -> None:
    lines = tables.table(["name", "a"], [["x", "1"], ["long name", "1000"]]).splitlines()
    assert lines == ["name          a", "---------  ----", "x             1", "long name  1000"]


@pytest.mark.parametrize(("value", "text"), [(4.213e6, "4.21 M"), (24.3e6, "24.3 M"), (999_600, "1.00 M"),
                                             (563_400, "563 k"), (38_210, "38.2 k"), (120, "0.1 k")])  # fmt: skip
def test_rates_have_three_figures(value: float, text: str) -> None:
    assert tables.rate_text(value) == text


def test_markdown_holds_every_table(data: dict[str, Any]) -> None:
    text = report.markdown(data)
    assert "| **transport tcp, callbacks \\*** |" in text
    assert "`python -m bench quick`" in text
    assert "1.97 GB/s" in text
    assert "(3 % lost)" in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths <= {6, 4, 8}


def test_readme_block_is_replaced_and_the_rest_kept(tmp_path: Path, data: dict[str, Any]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n")
    report.rewrite_readme(readme, data)
    once = readme.read_text()
    assert once.startswith("before\n<!-- bench:begin -->\n\n")
    assert once.endswith("\n<!-- bench:end -->\nafter\n")
    assert "old" not in once
    report.rewrite_readme(readme, data)
    assert readme.read_text() == once
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("text", ["nothing", "<!-- bench:begin -->", "<!-- bench:end --><!-- bench:begin -->",
                                  "<!-- bench:begin --><!-- bench:begin --><!-- bench:end -->"])  # fmt: skip
def test_a_readme_without_its_marks_is_left_alone(tmp_path: Path, data: dict[str, Any], text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(report.ReadmeError, match="bench:begin"):
        report.rewrite_readme(readme, data)
    assert readme.read_text() == text


def needs_nothing(page: str) -> None:
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)|src=|href=", page)
    assert set(re.findall(r"https?://[^\"' ]*", page)) <= {"http://www.w3.org/2000/svg"}


def pictures(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def test_the_page_needs_nothing_from_anywhere(data: dict[str, Any]) -> None:
    page = report.html(data)
    needs_nothing(page)
    assert "server: &lt;nothing&gt; &amp; more" in page
    assert "Preview" in page
    assert len(pictures(page)) == 7, "margins, bars, distribution, strip, payload lines, two strips"


@pytest.mark.parametrize("make", [results.result, results.open_result])
def test_pictures_stay_inside_their_frame(make: Callable[[], dict[str, Any]]) -> None:
    found = make()
    found["bars"] = [bars.judge(BAR, found["rounds"])] if make is results.result else []
    for picture in pictures(report.html(found)):
        _, _, width, height = map(float, picture.attrib["viewBox"].split())
        for element in picture.iter():
            for name, limit in (("x", width), ("x2", width), ("cx", width), ("y", height), ("y2", height)):
                if name in element.attrib:
                    assert -1 <= float(element.attrib[name]) <= limit + 1, ElementTree.tostring(element)


def test_a_page_without_a_single_good_round(data: dict[str, Any]) -> None:
    data["rounds"] = [
        results.failed_round(results.LATENCY.id, "tcp", 0, "x"),
        results.failed_round(results.SMALL.id, "tcp", 0, "x"),
    ]
    data["bars"] = [bars.judge(BAR, data["rounds"])]
    assert "FAIL" in report.html(data)
    assert "FAIL" in report.markdown(data)
    assert "FAIL" in tables.report_text(data)


def test_labels_keep_their_distance() -> None:
    placed = svg.spread_labels([10.0, 11.0, 12.0, 90.0], 10, 0, 100)
    assert all(after - before >= 9.9 for before, after in itertools.pairwise(placed))
    assert placed[3] == 90.0
    assert svg.spread_labels([], 10, 0, 100) == []


@pytest.mark.parametrize(("low", "high", "log"), [(0, 55, False), (0, 0.3, False), (9, 110, True), (10_000, 3e7, True),
                                                  (20_000, 90_000, True), (11.0, 12.0, True),
                                                  (0.106, 0.162, True), (25.0, 55.0, True)])  # fmt: skip
def test_ticks_are_inside_and_enough(low: float, high: float, log: bool) -> None:
    ticks = svg.Scale(low, high, 0, 100, log).ticks(6)
    assert 2 <= len(ticks) <= 14
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)


# Open loops ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def opened() -> dict[str, Any]:
    found = results.open_result()
    found["environment"]["sysctl"]["net.ipv4.tcp_congestion_control"] = "bbr"
    return found


def test_many_open_cases_are_a_grid_in_the_terminal(opened: dict[str, Any]) -> None:
    text = tables.report_text(opened)
    assert max(map(len, text.splitlines())) <= tables.WIDTH
    lines = text.splitlines()
    heads = [line for line in lines if line.endswith("p50/p99/p99.9 in ms")]
    assert [head.split("; ")[-1].split(": ")[0] for head in heads[:2]] == ["RTT 20 ms, by loss", "RTT 50 ms, by loss"]
    assert len(heads) == 4, "two round-trip times, the rates, the jitters"
    (rudp,) = [line for line in lines[lines.index(heads[1]) : lines.index(heads[2])] if line.startswith("rudp ")]
    assert rudp.split() == ["rudp", "25.2/25.5/-<", "25.3/35.0/-<", "25.3/50.0/-<"]
    joined = " ".join(text.split())
    assert "tcp: 3 rounds FAIL; the first:" in joined
    assert "pyzmq: 2 rounds INVALID" in joined
    assert "1 KB, 3 connections of 50 messages a second" in joined, "the case that is in no series"
    assert "rudp-unreliable (may lose)" in joined


def test_few_open_cases_have_a_table_each(opened: dict[str, Any]) -> None:
    opened["cases"] = opened["cases"][:2]
    text = tables.report_text(opened)
    assert text.count("from the planned time, ms") == 2
    assert "bbr" not in text, "the machine's default is not used over a link"
    assert "cubic over the link" in " ".join(text.split())


def test_the_legend_names_what_tcp_used_where(opened: dict[str, Any]) -> None:
    said = "bbr over loopback, cubic over the link, but for peers whose name says another"
    assert said in " ".join(tables.report_text(opened).split())
    assert said in report.markdown(opened)
    assert said in report.html(opened)
    for item in opened["rounds"]:
        if "link" in item:
            item["link"]["congestion"] = "reno"
    assert "reno over the link" in tables.congestion_text(opened)


def test_a_wide_grid_shows_less_of_each_cell(opened: dict[str, Any]) -> None:
    link = Link(delay_ms=25.0)
    cases = [open_loop(64, 100.0, 10, link=replace(link, loss=loss / 100)) for loss in range(9)]
    opened["cases"] = [case.as_dict() | {"peers": ["rudp"]} for case in cases]
    opened["rounds"] = [results.open_round(case, "rudp", 0) for case in cases]
    text = tables.report_text(opened)
    assert max(map(len, text.splitlines())) <= tables.WIDTH
    assert "p99/p99.9 in ms" in text
    assert "p50/" not in text


def test_markdown_of_open_loops(opened: dict[str, Any]) -> None:
    text = report.markdown(opened)
    (rudp,) = [line for line in text.splitlines() if line.startswith("| rudp |") and "50.0" in line]
    assert [cell.strip() for cell in rudp.strip("|").split("|")][1:] == [
        "**10.1 / 10.2 / -**", "**10.1 / 14.0 / -**", "**10.1 / 20.0 / -**", "**25.2 / 25.5 / -**",
        "**25.3 / 35.0 / -**", "**25.3 / 50.0 / -**"]  # fmt: skip
    assert "RTT 20 ms, 0 % | RTT 20 ms, 2 %" in text
    assert "| FAIL |" in text
    assert "| INVALID |" in text
    assert "| *blocking-tcp* |" in text
    assert "is higher in 4" in text
    assert "x floor" not in text
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


@pytest.mark.parametrize(("command", "marks"), [
    ("quick", "bench"), ("latency --peers tcp", "bench"), ("loss --loss 1", "bench:loss"), ("rate", "bench:rate"),
    ("sweep jitter", "bench:sweep"), ("all --budget 60", "bench:all"),
])  # fmt: skip
def test_a_file_fills_the_block_of_its_command(
    tmp_path: Path, opened: dict[str, Any], command: str, marks: str
) -> None:
    readme = tmp_path / "README.md"
    names = ("bench", "bench:loss", "bench:rate", "bench:sweep", "bench:all")
    readme.write_text("".join(f"<!-- {name}:begin -->\nold {name}.\n<!-- {name}:end -->\n" for name in names))
    opened["tool"]["command"] = f"python -m bench {command}"
    report.rewrite_readme(readme, opened)
    text = readme.read_text()
    assert [name for name in names if f"old {name}." not in text] == [marks]
    assert text.index(f"<!-- {marks}:begin -->") < text.index("50.0") < text.index(f"<!-- {marks}:end -->")
    readme.write_text("<!-- bench:other:begin --><!-- bench:other:end -->")
    with pytest.raises(report.ReadmeError, match=f"<!-- {marks}:begin -->"):
        report.rewrite_readme(readme, opened)


def test_markdown_has_the_tables_of_probes(data: dict[str, Any]) -> None:
    data["probes"] = {
        "x": {"table": {"title": "What was seen", "head": ["a", "b"], "rows": [["1", "2|3"]], "note": "So."}}
    }
    assert "**What was seen**\n\n| a | b |\n| --- | ---: |\n| 1 | 2\\|3 |\n\nSo." in report.markdown(data)


def section(page: str, title: str) -> str:
    return next(part for part in page.split("<section>") if f"<h2>{title}</h2>" in part)


def test_the_page_of_open_loops(opened: dict[str, Any]) -> None:
    page = report.html(opened)
    needs_nothing(page)
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == ["What was found", "Open loop: the figures in pictures", "Open loop: every cell",
                      "How it was measured"]  # fmt: skip
    found = section(page, "What was found")
    assert "6 peers carried the same messages" in found
    assert (
        "has the lowest p99 in 6 of 12 cells, is level with the best other (within 5 %) in 2, and is higher in 4"
        in (found)
    )
    assert "Where ours loses" in found
    assert "3 rounds failed (tcp 3)." in found
    figures = section(page, "Open loop: the figures in pictures")
    assert "FAIL</td>" in figures
    assert "INVALID</td>" in figures
    cells = section(page, "Open loop: every cell")
    assert cells.count("<details") == len(opened["cases"])
    assert "server: &lt;gone&gt; &amp; away" in cells
    assert "200 of 4000 messages have not arrived" in cells
    assert "wire B" in cells
    assert "140 x 1 s, 3 failed, 2 invalid" in page


def test_open_and_closed_loops_share_no_picture(data: dict[str, Any], opened: dict[str, Any]) -> None:
    for name in ("cases", "rounds"):
        data[name] += opened[name]
    data["peers"] = list({peer["id"]: peer for peer in data["peers"] + opened["peers"]}.values())
    units = ("one way, ms", "round trip, us", "messages received a second", "p50 of each round, microseconds")
    seen = set()
    for picture in pictures(report.html(data)):
        said = "".join(picture.itertext())
        there = {unit for unit in units if unit in said}
        seen |= there
        assert "one way, ms" not in there or len(there) == 1
    assert {"one way, ms", "round trip, us"} <= seen


def test_a_peer_that_broke_has_its_cross(opened: dict[str, Any]) -> None:
    rates = [case for case in opened["cases"] if case["link"] is None]
    opened["cases"] = rates
    curve = pictures(report.html(opened))[0]
    title = curve.attrib["aria-label"]
    assert title == "Percentiles against offered messages a second: 64 B, loopback"
    crosses = [one for one in curve.iter("{http://www.w3.org/2000/svg}polygon")
               if one.attrib["fill"] == "none" and len(one.attrib["points"].split()) == 6]  # fmt: skip
    assert len(crosses) == 2, "tcp at the highest rate, in the panels of p50 and p99"


def test_too_many_lines_stay_but_have_no_names() -> None:
    names = [f"peer{number:02}" for number in range(lines.NAMES_MAX + 5)]
    look = lines.looks([{"id": name, "kind": "library"} for name in names])
    panel = lines.Panel("", [lines.Line(name, [(0.0, 1.0 + at), (1.0, 2.0 + at)]) for at, name in enumerate(names)])
    picture = lines.line_panels([panel], lines.Axes([0.0, 1.0], ["0", "1"], False, "x", "y"), look, "many")
    assert picture.count("<polyline") == len(names)
    assert [name for name in names if f">{name}</text>" in picture] == names[: lines.NAMES_MAX]


def test_a_panel_has_only_the_values_it_was_measured_at() -> None:
    axes = lines.Axes([0.0, 1.0, 5.0, 30.0], ["0", "1", "5", "30"], False, "loss", "ms")
    panel = lines.Panel("", [lines.Line("a", [(0.0, 1.0)], broken=[5.0]), lines.Line("b", invalid=[1.0])])
    assert lines.of_panel(axes, panel).texts == ["0", "1", "5"]
    assert lines.of_panel(replace(axes, log=True), panel).texts == axes.texts


def test_peers_look_different() -> None:
    peers = [{"id": str(number), "kind": "ours" if number % 3 == 0 else "library"} for number in range(20)]
    assert len(set(lines.looks(peers).values())) == 20


def test_percentiles_without_samples_are_dashes(opened: dict[str, Any]) -> None:
    case = next(case for case in results.open_cases() if case.link is None)
    opened["cases"] = [case.as_dict() | {"peers": ["tcp"]}]
    opened["rounds"] = [results.open_round(case, "tcp", 0)]
    assert tables.open_row(summarize(opened)[case.id][0])[4] == "-", "p99.9"
    page = report.html(opened)
    assert "<th>p99</th>" in page
    assert "<th>p99.9</th>" not in page, "a column of dashes"
    opened["rounds"][0]["latency"]["p99_ns"] = None
    assert "1 cell has no p99 of anybody in order" in report.html(opened)


def test_an_extreme_percentile_that_the_machine_spoiled_has_a_mark(opened: dict[str, Any]) -> None:
    case = next(case for case in results.open_cases() if case.link is not None)
    assert case.link is not None

    def of(sender_ns: int, link_ns: int, block: int = 0) -> dict[str, Any]:
        item = results.open_round(case, "tcp", block, planned=40_000)
        item["open"]["lateness"]["p999_ns"] = sender_ns
        item["link"]["server"]["lateness_ns"]["p999"] = link_ns
        return item

    def shown(*rounds: dict[str, Any]) -> str:
        opened["cases"] = [case.as_dict() | {"peers": ["tcp"]}]
        opened["rounds"] = list(rounds)
        (cell,) = summarize(opened)[case.id]
        assert tables.percentile_text(cell, "p99").replace(".", "").isdigit()
        return tables.percentile_text(cell, "p999")

    late_ns = of(0, 0)["latency"]["p999_ns"]
    text = tables.milliseconds(late_ns)
    sender_ns, link_ns = int(sender_may_ns(late_ns)), int(link_may_ns(case.link.delay_ms))
    assert shown(of(sender_ns, link_ns)) == text
    assert shown(of(sender_ns + 1, link_ns)) == text + "~"
    assert shown(of(sender_ns, link_ns + 1)) == text + "~"
    assert shown(of(sender_ns + 1, 0), of(0, 0, 1)) == text, "the other round shows it"


def test_a_page_of_open_loops_without_a_good_round(opened: dict[str, Any]) -> None:
    opened["rounds"] = [results.failed_round(case.id, "tcp", 0, "gone") for case in results.open_cases()]
    page = report.html(opened)
    assert "13 rounds failed (tcp 13)" in page
    assert "FAIL" in report.markdown(opened)
    assert "FAIL" in tables.report_text(opened)


def test_a_distribution_is_thinned_and_keeps_its_ends() -> None:
    points = [(1 - at / 5000, 10 + at / 100) for at in range(4995)]
    thin = plots.thinned(points)
    assert len(thin) <= plots.POINTS_MAX + 2
    assert thin[0] == points[0]
    assert thin[-1] == points[-1]
    assert thin == sorted(thin, key=lambda point: -point[0])
    assert plots.thinned(points[:20]) == points[:20]


def test_what_is_not_for_publishing_says_so_and_goes_into_no_readme(tmp_path: Path) -> None:
    data = results.open_result()
    assert "NOT FOR PUBLISHING" not in tables.report_text(data)
    item = next(item for item in data["rounds"] if "link" in item)
    item["link"]["unpublishable"] = "a delay under 5 ms one way"
    assert "NOT FOR PUBLISHING: a delay under 5 ms one way" in tables.report_text(data)
    assert "<b>Not for publishing.</b> a delay under 5 ms one way" in report.html(data)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:loss:begin -->\n<!-- bench:loss:end -->\n")
    with pytest.raises(report.ReadmeError, match="not for publishing: a delay under 5 ms"):
        report.rewrite_readme(readme, data)
    assert readme.read_text() == "<!-- bench:loss:begin -->\n<!-- bench:loss:end -->\n"
