"""The report: one HTML file that needs nothing from anywhere, with every figure of the run and how it was taken."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from bench import bars as bar_module
from bench.environment import build_text
from bench.message import STRIDE_LARGE, STRIDE_SMALL
from bench.report import openpage, plots
from bench.report.markup import cells_table, figure, html_table, sentence
from bench.summary import Cell, summarize, unpublishable
from bench.tables import BARS_HEAD, bar_row, congestion_text, placement_text

STYLE = Path(__file__).with_name("style.css")


def html(data: dict[str, Any]) -> str:
    """The whole page."""
    cells = {name: found for name, found in summarize(data).items() if found}
    latency = [(case, cells[case["id"]]) for case in data["cases"] if case["mode"] == "latency" and case["id"] in cells]
    through = [
        (case, cells[case["id"]]) for case in data["cases"] if case["mode"] == "throughput" and case["id"] in cells
    ]
    opened = [case for case in data["cases"] if case["mode"] == "open" and case["id"] in cells]
    parts = [header(data)]
    if opened:
        parts.append(openpage.summary_section(data, opened, cells))
    if data["bars"]:
        parts.append(bars_section(data["bars"]))
    parts += [probe_section(seen["table"]) for seen in data["probes"].values() if "table" in seen]
    if opened:
        parts += [openpage.plots_section(opened, cells), openpage.cells_section(data, opened, cells)]
    parts += [latency_section(data, case, found) for case, found in latency]
    if through:
        parts.append(throughput_section(data, through))
    parts += [
        how_section(data, bool(latency), bool(through), bool(opened)),
        peers_section(data),
        environment_section(data),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>transport benchmark, {escape(data['started'][:16])}</title>"
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def header(data: dict[str, Any]) -> str:
    """Title, what was run, and what a reader must know first."""
    env, config = data["environment"], data["config"]
    cpu = env["cpu"]
    rounds = len(data["rounds"])
    failed = sum(item["status"] == "FAIL" for item in data["rounds"])
    invalid = sum(item["status"] == "INVALID" for item in data["rounds"])
    flagged = sum(item["flagged"] for item in data["rounds"])
    facts = [
        ("kernel", f"{env['system']} {env['kernel']}"),
        ("processor", f"{cpu['model']} x {len(cpu['usable'])}{' (virtual machine)' if cpu['hypervisor'] else ''}"),
        ("Python", f"{env['implementation']} {env['python']}"),
        ("TCP congestion control", congestion_text(data)),
        ("transport", build_text(data["peers"]) or "did not run"),
        (
            "rounds",
            f"{rounds} x {config['seconds']:g} s, {failed} failed, "
            f"{f'{invalid} invalid, ' if invalid else ''}{flagged} over 4 % steal",
        ),
        ("taken", f"{data['started'].replace('T', ' ').replace('+00:00', ' UTC')}, {data['seconds']:.0f} s"),
    ]
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts)
    notes = ""
    if data["preview"]:
        notes += (
            '<p class="note"><b>Preview.</b> Short rounds, for a first look; no verdicts follow from these figures.</p>'
        )
    if not data["complete"]:
        notes += f'<p class="note"><b>Incomplete.</b> {escape(str(data["why_incomplete"]))}</p>'
    for why in unpublishable(data):
        notes += f'<p class="note"><b>Not for publishing.</b> {escape(why)}</p>'
    return (
        f'<header><h1>Message transports, side by side</h1><p class="command"><code>{escape(data["tool"]["command"])}'
        f'</code></p>{notes}<dl class="facts">{items}</dl></header>'
    )


def bars_section(entries: list[dict[str, Any]]) -> str:
    """The acceptance figures."""
    kinds = [{"PASS": "pass", "FAIL": "fail"}.get(bar["verdict"], "none") for bar in entries]
    table = html_table(BARS_HEAD, [bar_row(bar) for bar in entries], kinds)
    notes = "".join(
        f"<li><b>{escape(bar['id'])}</b>: {escape(bar['why'].splitlines()[0])}</li>" for bar in entries if bar["why"]
    )
    passed = sum(bar["verdict"] == bar_module.PASS for bar in entries)
    judged = sum(bar["verdict"] != bar_module.INFORMATION for bar in entries)
    return (
        f"<section><h2>Acceptance</h2><p>{passed} of {judged} figures pass. A ratio is taken within each pass of the "
        "run, the two sides a moment apart; the verdict is by the median. "
        "<i>quiet</i> leaves out rounds over 4 % steal.</p>"
        + figure(
            plots.margins(entries, "Distance of each acceptance figure from its bar"),
            "Each figure divided by its bar, turned so that right is better: median, and range over passes.",
        )
        + table
        + (f'<ul class="foot">{notes}</ul>' if notes else "")
        + "</section>"
    )


def probe_section(shown: dict[str, Any]) -> str:
    """The table that a probe made of what it saw."""
    table = html_table(shown["head"], shown["rows"], ["none"] * len(shown["rows"]))
    return f"<section><h2>{escape(shown['title'])}</h2>{table}<p>{escape(shown['note'])}</p></section>"


def latency_section(data: dict[str, Any], case: dict[str, Any], cells: list[Cell]) -> str:
    """One closed-loop case."""
    title = case["title"]
    parts = [
        f"<section><h2>{escape(sentence(title))}</h2>",
        f"<p>Closed loop: {escape(placement_text(data, case))}. From the moment a program hands a message over until "
        "it holds the answer.</p>",
    ]
    if any(cell.value for cell in cells):
        parts.append(
            figure(
                plots.latency_bars(cells, title),
                "Medians over rounds. A whisker that leaves the picture ends in an arrow.",
            )
        )
        parts.append(
            figure(
                plots.latency_cdf(cells, f"{title}: distribution"),
                "Distribution of all rounds' round trips, as far to the right as 30 samples lie beyond.",
            )
        )
        parts.append(
            figure(plots.strip(cells, f"{title}: every round"), "Every round, so that one lucky median cannot hide.")
        )
    return "".join([*parts, cells_table(cells), "</section>"])


def throughput_section(data: dict[str, Any], groups: list[tuple[dict[str, Any], list[Cell]]]) -> str:
    """All throughput cases."""
    plain = [
        (case, cells) for case, cells in groups if not case["mixed"] and case["fanout"] == 1 and case["codec"] == "raw"
    ]
    plain = [group for group in plain if group[0]["placement"] == plain[0][0]["placement"]]
    parts = [
        f"<section><h2>Throughput, one way</h2><p>{escape(sentence(placement_text(data, groups[0][0])))}. "
        "Messages that reached the receiving program, in a window that both ends agree on; the sender is held "
        "back by nothing but the peer's own back-pressure.</p>"
    ]
    if len({case["payload"] for case, _ in plain}) > 1:
        parts.append(
            figure(
                plots.throughput_lines(plain, "Messages a second against payload"),
                "Medians over rounds; the figure beside each name is at the largest payload.",
            )
        )
    for case, cells in groups:
        parts.append(f"<h3>{escape(sentence(case['title']))}: {escape(placement_text(data, case))}</h3>")
        parts.append(figure(plots.strip(cells, f"{case['title']}: every round"), "Every round."))
        parts.append(cells_table(cells))
    return "".join([*parts, "</section>"])


def how_section(data: dict[str, Any], latency: bool, through: bool, opened: bool) -> str:
    """What the figures mean."""
    config = data["config"]
    warmup = f"{config['warmup']:g} s of warm-up are thrown away before "
    warmup += "the stretch that is measured." if opened else f"the {config['seconds']:g} s that are measured."
    points = [
        "Every round runs client and server in fresh processes. Rounds come in blocks: a random permutation of all "
        f"peers at one configuration (seed {config['seed']}), so drift of the machine hits all alike. "
        "Figures are medians over rounds.",
        warmup,
        "TCP_NODELAY is on for every peer; datagram sockets ask for the same buffers; compression is off.",
        "Steal is what the hypervisor took from the cores in use during the measured stretch. Rounds over 4 % are "
        "flagged (*), kept in the headline figure and left out of the one beside it.",
        "A percentile is printed only when at least 30 samples lie beyond it in every round.",
        "cpu is the time of both processes, all their threads, per message; ctx is context switches, likewise.",
    ]
    if latency or through:
        points.append("x floor is the figure divided by that of blocking Python sockets of the same family.")
    if opened:
        points += openpage.how(data)
    if latency:
        points.append(
            "Each answer must equal the message sent, byte by byte. One message is in flight, so this is service time: "
            "it says nothing about latency under load."
        )
    if through:
        points.append(
            "Each message carries a number and a CRC-32. The receiver counts messages and bytes, which must equal what "
            f"was sent, and compares every {STRIDE_SMALL}th (large: {STRIDE_LARGE}th) whole with the one due at that "
            "place. Datagrams may be lost; the loss is in the table. The floor knows no messages: it counts bytes."
        )
    return (
        "<section><h2>How it was measured</h2><ul>"
        + "".join(f"<li>{escape(text)}</li>" for text in points)
        + "</ul></section>"
    )


def peers_section(data: dict[str, Any]) -> str:
    """Versions and settings of everybody."""
    rows, kinds = [], []
    for peer in data["peers"]:
        versions = ", ".join(f"{name} {version}" for name, version in peer["versions"].items())
        settings = "; ".join(
            [f"{name}: {text}" for name, text in peer["settings"].items()] + ([peer["note"]] if peer["note"] else [])
        )
        rows.append([peer["id"], peer["title"], versions, settings])
        kinds.append(peer["kind"] + " words")
    for item in data["missing"]:
        rows.append([item["id"], "not installed", "", item["install"]])
        kinds.append("none words")
    table = html_table(["name", "what", "versions", "settings and notes"], rows, kinds)
    return f"<section><details><summary>Peers, versions, settings</summary>{table}</details></section>"


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested values as dotted names."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{name}.{key}" if name else str(key))]
    return [(name, "unknown" if value is None else str(value))]


def environment_section(data: dict[str, Any]) -> str:
    """Everything known about the machine."""
    rows = [[name, text] for name, text in flat(data["environment"])]
    rows += [["commit", f"{data['tool']['commit'] or 'unknown'}{' with changes' if data['tool']['dirty'] else ''}"]]
    table = html_table(["", ""], rows, ["words"] * len(rows))
    return f"<section><details><summary>Machine</summary>{table}</details></section>"
