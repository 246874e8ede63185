"""Tables, Markdown, the README block and the HTML page, all from one known result."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from bench import bars, report, tables
from bench.report import svg
from bench.summary import summarize
from tests.bench import results

BAR = bars.Bar("tcp-64", "tcp / pyzmq", (results.SMALL, "tcp"), (results.SMALL, "pyzmq"), ">=", 4.5)


@pytest.fixture
def data() -> dict[str, Any]:
    found = results.result()
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
                 "bbr congestion control", "server: <nothing> & more", "4.00 M", "PASS"):  # fmt: skip
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


def pictures(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def test_the_page_needs_nothing_from_anywhere(data: dict[str, Any]) -> None:
    page = report.html(data)
    assert not re.search(r"<script|<link|<img|@import|url\(http|src=|href=", page)
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}
    assert "server: &lt;nothing&gt; &amp; more" in page
    assert "Preview" in page
    assert len(pictures(page)) == 7, "margins, bars, distribution, strip, payload lines, two strips"


def test_pictures_stay_inside_their_frame(data: dict[str, Any]) -> None:
    for picture in pictures(report.html(data)):
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
                                                  (20_000, 90_000, True), (11.0, 12.0, True)])  # fmt: skip
def test_ticks_are_inside_and_enough(low: float, high: float, log: bool) -> None:
    ticks = svg.Scale(low, high, 0, 100, log).ticks(6)
    assert 2 <= len(ticks) <= 14
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)
