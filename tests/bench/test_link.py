"""The emulated link, for real: two namespaces, packets, and nothing left behind.

Bounds on time are wide here, for other tests run beside it; `python -m bench link --validate` has the narrow ones.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import cli, native_build
from bench.child import ROOT
from bench.link import emulator, validation
from bench.link.emulator import SIDES, Emulator, EmulatorFailed, enter, verdict, why_not
from bench.link.model import Link
from bench.link.validation import QUIET, cross, steady

pytestmark = pytest.mark.linux
WAIT_S = 15.0


@pytest.fixture
def namespaces() -> None:
    """Skips, with the reason, where no link can be emulated."""
    if reason := why_not():
        pytest.skip(reason)


def told(namespace: str, code: str) -> str:
    """What a process says in that namespace."""
    script = f"from bench.link.emulator import enter\nenter({namespace!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    return done.stdout.strip()


# Crossing


@pytest.mark.usefixtures("namespaces")
def test_a_packet_crosses_with_its_delay() -> None:
    ask = {**steady(100, 0.2), "echo": True}
    crossing = cross(Link(delay_ms=30), ask, {**QUIET, "echo": True}, 0.2)
    assert crossing.client["received"] == 20
    assert 60e6 <= crossing.client["min_ns"] <= 75e6
    for side in SIDES:
        seen = crossing.report[side]
        assert seen["packets_in"] == seen["packets_out"] == seen["lateness_ns"]["n"] == 20
        assert seen["bytes_in"] == seen["bytes_out"] == 20 * (validation.SMALL + validation.HEADS)
        assert not any(seen["dropped"].values())
    assert crossing.report["in_flight"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_the_seed_decides_which_packets_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(delay_ms=1, loss=0.2)
    plan = steady(2000, 0.2)
    seed = random.randrange(1 << 70)
    print(f"seed {seed}")
    fates = []
    for one in (seed, seed, seed + 1):
        monkeypatch.setattr(validation, "SEED", one)
        crossing = cross(link, plan, plan, 0.2)
        for side, far in (("client", crossing.server), ("server", crossing.client)):
            assert far["missing"] == crossing.report[side]["dropped"]["loss"] > 0
        fates.append((crossing.server["missing_numbers"], crossing.client["missing_numbers"]))
    assert fates[0] == fates[1]
    assert len({*fates[0], *fates[2]}) == 4, "directions and seeds differ"


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_what_else_the_link_does_changes_no_loss() -> None:
    plan = steady(2000, 0.2)
    plain = cross(Link(delay_ms=1, loss=0.2), plan, QUIET, 0.2)
    more = cross(Link(delay_ms=2, loss=0.2, jitter_ms=1, duplicate=0.1, reorder=0.1, reorder_ms=3), plan, QUIET, 0.2)
    assert plain.server["missing_numbers"] == more.server["missing_numbers"]
    assert more.server["twice"] == more.report["client"]["duplicated"] > 0
    assert more.report["client"]["reordered"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_what_is_damaged_is_refused_by_the_receiving_kernel() -> None:
    crossing = cross(Link(delay_ms=1, corrupt=0.5), steady(2000, 0.2), QUIET, 0.2)
    corrupted = crossing.report["client"]["corrupted"]
    assert 100 < corrupted < 300
    assert corrupted - 3 <= crossing.server["missing"] <= corrupted, "a sum that became 0 means that there is none"


@pytest.mark.usefixtures("namespaces")
def test_segmentation_offload_ends_at_the_device() -> None:
    code = f"""if True:
        import errno, socket
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_UDP, 103, 1000)  # UDP_SEGMENT
            try:
                sock.sendto(bytes(4500), ("{emulator.HOSTS["server"]}", 9))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                print("none")  # kernels before 6.11 want a device that makes checksums
    """
    with Emulator(Link(), 1) as link:
        if told(link.namespace("client"), code) == "none":
            pytest.skip("this kernel has no segmentation offload for UDP over such a device")
        seen = link.report()["client"]
    assert (seen["packets_in"], seen["bytes_in"]) == (5, 4500 + 5 * 28)


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize(
    "check", [validation.full_queue, validation.overtaking, validation.too_large], ids=lambda check: check.__name__
)
def test_what_is_exact_on_any_machine(check: validation.Check) -> None:
    rows = check()
    assert rows
    assert [row for row in rows if not row.passed] == []


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_a_hole_drops_what_comes_in_its_time() -> None:
    crossing = cross(Link(delay_ms=1, hole_at_s=0.2, hole_s=0.3), steady(1000, 0.8), QUIET, 0.8)
    assert crossing.server["missing"] == crossing.report["client"]["dropped"]["hole"]
    assert 200 < crossing.server["missing"] < 500  # 300, and those that a machine with other work has put off
    assert crossing.server["longest_gap_ns"] >= 280e6


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_bursts_lose_in_a_row() -> None:
    crossing = cross(Link(delay_ms=1, loss=0.3, burst_ms=20), steady(2000, 1.5), QUIET, 1.5)
    lost, runs = crossing.server["missing"], crossing.server["missing_runs"]
    assert lost == crossing.report["client"]["dropped"]["loss"]
    assert lost / runs > 10, "independent losses of 30 % come 1.4 in a row"


# Namespaces


@pytest.mark.usefixtures("namespaces")
def test_links_do_not_meet() -> None:
    outside = Path("/proc/self/ns/net").stat().st_ino
    with Emulator(Link(mtu=1400), 1, "reno") as one, Emulator(Link(mtu=1300), 1, "cubic") as two:
        ids = [*one.namespace_ids.values(), *two.namespace_ids.values(), outside]
        assert len(set(ids)) == 5
        code = """if True:
            from pathlib import Path
            print(Path("/proc/self/ns/net").stat().st_ino, end=" ")
            print(Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(), end=" ")
            devices = Path("/proc/self/net/dev").read_text().splitlines()[2:]
            print(sorted(line.split(":")[0].strip() for line in devices))
        """
        assert told(one.namespace("client"), code) == f"{one.namespace_ids['client']} reno ['link0', 'lo']"
        assert told(two.namespace("server"), code) == f"{two.namespace_ids['server']} cubic ['link0', 'lo']"
    assert Path("/proc/self/ns/net").stat().st_ino == outside


@pytest.mark.usefixtures("namespaces")
def test_a_congestion_control_that_is_none_is_named() -> None:
    with pytest.raises(EmulatorFailed, match=r"no congestion control nothing here .* this kernel has: .*reno"):
        Emulator(Link(), 1, "nothing").__enter__()


@pytest.mark.usefixtures("namespaces")
def test_reports_while_it_runs_and_afterwards() -> None:
    link = Emulator(Link(delay_ms=5), 1)
    with pytest.raises(EmulatorFailed, match="not started"):
        link.report()
    with link:
        during = link.report()
        assert during["valid"] is False
        assert during["why"] == "nothing crossed the link"
        path = link.namespace("client")
    assert link.report()["client"] == during["client"]
    with pytest.raises(OSError, match="No such file"):
        enter(path)


@pytest.mark.usefixtures("namespaces")
def test_a_router_that_dies_is_noticed() -> None:
    with Emulator(Link(), 1) as link:
        assert link.report()["in_flight"] == 0
        os.kill(link.pid, signal.SIGKILL)
        with pytest.raises(EmulatorFailed, match="the router (is gone|ended with status -9)"):
            link.report()
    with pytest.raises(EmulatorFailed, match="died before its last report"):
        link.report()


RUN = """
import json, sys
from time import monotonic
from bench.child import Child
from bench.link.emulator import Emulator, Link
from bench.link.validation import whereabouts
with Emulator(Link(delay_ms=5), 1) as link, Child("server", "bench.link.traffic") as child:
    child.tell({"kind": "udp", **whereabouts(link, "server")})
    child.hear("ready", monotonic() + 15)
    print(json.dumps({"pids": [link.pid, child.pid], "namespaces": list(link.namespace_ids.values())}), flush=True)
    sys.stdin.read()
"""


def holders(namespaces: set[str]) -> list[str]:
    """Who is in one of these namespaces, or holds it by a descriptor."""
    found = []
    for pattern in ("[0-9]*/ns/net", "[0-9]*/fd/*"):
        for path in Path("/proc").glob(pattern):
            try:
                if os.readlink(path) in namespaces:
                    found.append(str(path))
            except OSError:
                continue  # it ended, or it is not ours to see
    return found


@pytest.mark.usefixtures("namespaces")
def test_a_killed_run_leaves_nothing_behind() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as run:
        try:
            assert run.stdout is not None
            said: dict[str, Any] = json.loads(run.stdout.readline())
            namespaces = {f"net:[{number}]" for number in said["namespaces"]}
            assert len(holders(namespaces)) >= 3, "both descriptors of the router, and the worker"
            descriptors = [os.pidfd_open(pid) for pid in said["pids"]]
        finally:
            run.kill()
        for descriptor in descriptors:
            ended, _, _ = select.select([descriptor], [], [], WAIT_S)
            os.close(descriptor)
            assert ended, "a process lives on"
    assert holders(namespaces) == []


# Verdicts, and where it can't run


def seen(p99: int = 100, **dropped: int) -> dict[str, Any]:
    return {
        side: {
            "packets_out": 1,
            "lateness_ns": {"n": 1, "p99": p99},
            "dropped": {"overflow": 0, "refused": 0, "device": 0, **dropped},
        }
        for side in SIDES
    }


def test_a_late_link_is_not_valid() -> None:
    assert verdict(Link(delay_ms=5), seen(p99=500_000)) is None
    assert "0.501 ms late at the 99th percentile, over 0.5 ms" in (verdict(Link(delay_ms=5), seen(p99=501_000)) or "")
    assert verdict(Link(delay_ms=20), seen(p99=1_000_000)) is None, "5 % of the delay"
    assert verdict(Link(delay_ms=20), seen(p99=1_001_000)) is not None


@pytest.mark.parametrize("what", ["overflow", "refused", "device"])
def test_drops_that_nobody_asked_for_are_not_valid(what: str) -> None:
    assert f"3 packets of the client were dropped by no wish of the link ({what})" == verdict(Link(), seen(**{what: 3}))


def test_short_delays_are_not_for_publishing() -> None:
    assert Emulator(Link(delay_ms=5), 1).unpublishable is None
    assert "a delay under 5 ms" in (Emulator(Link(delay_ms=4.9), 1).unpublishable or "")


def test_without_root_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    reason = why_not.__wrapped__()
    assert reason == (
        "no emulated link here: not root, so no network namespaces; "
        "virtual time needs none of these: python -m bench virtual"
    )


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native_build, "compiler", lambda: None)
    monkeypatch.setattr(native_build.tempfile, "gettempdir", lambda: str(tmp_path))
    with pytest.raises(native_build.BuildFailed, match="no C compiler"):
        Emulator(Link(), 1).__enter__()


def test_a_source_that_does_not_compile_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if native_build.compiler() is None:
        pytest.skip("no C compiler")
    monkeypatch.setattr(native_build.tempfile, "gettempdir", lambda: str(tmp_path))
    source = tmp_path / "wrong.c"
    source.write_text("int main(void) { return nothing; }\n")
    with pytest.raises(native_build.BuildFailed, match=r"wrong\.c: (?s:.*)nothing"):
        native_build.build(source, native_build.PROGRAM)


# The command


def test_a_failed_row_is_a_failed_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [validation.Row("one", "1", "1", True), validation.Row("two", "2", "3", False)]
    monkeypatch.setattr(emulator, "why_not", lambda: None)
    monkeypatch.setattr(validation, "suite", lambda: [("rows", lambda: rows)])
    assert cli.main(["link", "--validate"]) == 1
    printed = capsys.readouterr().out
    assert "two    2       3     FAIL" in printed
    assert "1 of 2 passed" in printed
    rows.pop()
    assert cli.main(["link", "--validate"]) == 0


def test_a_check_that_can_not_be_made_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> list[validation.Row]:
        raise EmulatorFailed("the router ended with status 9")

    monkeypatch.setattr(emulator, "why_not", lambda: None)
    monkeypatch.setattr(validation, "suite", lambda: [("broken", broken)])
    assert cli.main(["link", "--validate"]) == 1
    assert "bench: the router ended with status 9" in capsys.readouterr().err


def test_the_command_refuses_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(emulator, "why_not", lambda: "no emulated link here: reasons")
    assert cli.main(["link", "--validate", "--link", "rtt=50ms"]) == 2
    assert capsys.readouterr().err == "bench: no emulated link here: reasons\n"
    assert cli.main(["link", "--validate", "--link", "rtt=50"]) == 2
    assert "rtt=50: a number with one of the units" in capsys.readouterr().err


def test_a_link_gets_the_checks_that_suit_it() -> None:
    def names(text: str) -> list[str]:
        return [name for name, _ in validation.suite_for(Link.parse(text))]

    assert names("rtt=50ms") == ["lateness", "RTT"]
    assert names("rtt=50ms,loss=2%") == ["lateness", "loss"]
    assert names("rtt=50ms,rate=10mbit") == ["lateness", "RTT", "goodput"]
    assert names("rtt=50ms,loss=2%,corrupt=1%") == ["lateness"]


def test_the_binomial_interval() -> None:
    assert validation.binomial_interval(10, 0.5, 0.99) == (1, 9)
    low, high = validation.binomial_interval(20_000, 0.02)
    assert abs(low - (400 - 2.576 * 19.8)) < 2 and abs(high - (400 + 2.576 * 19.8)) < 2
