"""A link between two network namespaces that every transport crosses alike, kernel TCP included.

`router.c` makes the namespaces, holds them and moves the packets; this module starts it, hears its figures and judges
them. It must never leave anything behind: the namespaces are anonymous and end with the router, and that one ends with
this process, however it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from bench import native_build
from bench.lateness import link_may_ns
from bench.link.model import Link

SOURCE = Path(__file__).with_name("router.c")
SIDES = ("client", "server")
HOSTS = {"client": "10.77.0.1", "server": "10.77.0.2"}
START_S = 15.0
ANSWER_S = 10.0
END_S = 5.0
SPIN_US = 150.0
SPIN_SHARE = 50
PRIORITY = 10
SEED_MASK = (1 << 64) - 1
PUBLISHED_DELAY_MS = 5.0
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
CLONE_NEWNET = 0x40000000
ELSEWHERE = "virtual time needs none of these: python -m bench virtual"


class EmulatorFailed(Exception):
    """The router could not start, died or did not answer in time; the text says which."""


def enter(path: str) -> None:
    """Moves the calling thread, and what it starts, into the network namespace at `path` (of `Emulator.namespace`).

    Raises:
        OSError: it is gone, or this process may not.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"can't enter {path}: {os.strerror(number)}")
    finally:
        os.close(fd)


@functools.cache
def why_not() -> str | None:
    """Why no link can be emulated here, in one line; None where it can. Tried out once, by a link that ends at once."""
    reason = None
    if sys.platform != "linux":
        reason = "no Linux"
    elif not os.path.exists("/dev/net/tun"):
        reason = "no /dev/net/tun (modprobe tun)"
    elif os.geteuid() != 0:
        reason = "not root, so no network namespaces"
    else:
        try:
            with Emulator(Link(), 0):
                pass
        except (EmulatorFailed, native_build.BuildFailed, OSError) as error:
            reason = str(error)
    return reason and f"no emulated link here: {reason}; {ELSEWHERE}"


def arguments_of(link: Link) -> dict[str, int | float]:
    """The link in the router's words: whole nanoseconds, bits and bytes."""
    good_ms = link.burst_ms * (1 - link.loss) / link.loss if link.loss else 0.0
    bursts = bool(link.burst_ms and link.loss)
    return {
        "delay_ns": round(link.delay_ms * 1e6), "jitter_ns": round(link.jitter_ms * 1e6),
        "loss": 0.0 if bursts else link.loss, "bad_ns": round(link.burst_ms * 1e6) if bursts else 0,
        "good_ns": round(good_ms * 1e6) if bursts else 0, "reorder": link.reorder,
        "reorder_ns": round(link.reorder_ms * 1e6), "duplicate": link.duplicate, "corrupt": link.corrupt,
        "rate_bits": round(link.rate_mbit * 1e6), "queue_bytes": link.queue, "mtu": link.mtu,
        "hole_at_ns": round(link.hole_at_s * 1e9), "hole_ns": round(link.hole_s * 1e9),
    }  # fmt: skip


def verdict(link: Link, report: dict[str, Any]) -> str | None:
    """Why what crossed the link can't be published as having crossed *this* link; None when it can."""
    bound_ns = link_may_ns(link.delay_ms)
    if not any(report[side]["packets_out"] for side in SIDES):
        return "nothing crossed the link"
    for side in SIDES:
        late = report[side]["lateness_ns"]
        if late["n"] and late["p99"] > bound_ns:
            return (
                f"packets of the {side} came {late['p99'] / 1e6:.3f} ms late at the 99th percentile, over "
                f"{bound_ns / 1e6:g} ms"
            )
        for what in ("overflow", "refused", "device"):
            if count := report[side]["dropped"][what]:
                return f"{count} packets of the {side} were dropped by no wish of the link ({what})"
    return None


def allow(congestion: str) -> None:
    """Lets namespaces take `congestion` for their default, where the kernel has it but keeps it for root's own.

    The list is the whole machine's, and the name stays on it: others may be using it by the time we end. Nothing else
    changes, neither the machine's default nor any connection.
    """
    try:
        if congestion in AVAILABLE.read_text().split() and congestion not in (names := ALLOWED.read_text().split()):
            ALLOWED.write_text(" ".join([*names, congestion]))
    except OSError:
        pass  # the router says what is wrong when it tries


class Emulator:
    """Two namespaces with `link` between them. Use as a context manager, in a thread that lives as long as it.

    The seed decides what befalls the n-th packet of each direction. Bursts and holes are clocked from the first packet.

    Args:
        link: alike in both directions.
        seed: any whole number; its low 64 bits count.
        congestion: TCP's congestion control in both namespaces; None for the kernel's default.
        spin_us: how long before a packet is due the router stops sleeping, microseconds.
        device_mtu: what the hosts take for the MTU; None for the link's. A larger one than the link's makes a link that
            drops in silence what is too large for it.

    Raises:
        EmulatorFailed: on entering, and the others too; the text says what the machine lacks.
        BuildFailed: no compiler.
    """

    def __init__(
        self,
        link: Link,
        seed: int,
        congestion: str | None = None,
        *,
        spin_us: float = SPIN_US,
        device_mtu: int | None = None,
    ) -> None:
        self.link = link
        self.seed = seed
        self.congestion = congestion
        self.spin_us = spin_us
        self.device_mtu = device_mtu or link.mtu
        self.namespace_ids: dict[str, int] = {}
        """Inode numbers of the namespaces, as in /proc/PID/ns/net."""
        self.pid = 0
        """The router's process."""
        self._paths: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._last: dict[str, Any] | None = None
        self._rest = b""

    def _command(self) -> list[str]:
        given: dict[str, Any] = {
            **arguments_of(self.link),
            "seed": self.seed & SEED_MASK,
            "device_mtu": self.device_mtu,
            "spin_ns": round(self.spin_us * 1e3),
            "spin_share": SPIN_SHARE,
            "priority": PRIORITY,
            "parent": os.getpid(),
        }
        if self.congestion is not None:
            allow(self.congestion)
            given["congestion"] = self.congestion
        program = native_build.build(SOURCE, native_build.PROGRAM)
        return [str(program), *(f"{name}={value}" for name, value in given.items())]

    def __enter__(self) -> Emulator:
        self._process = subprocess.Popen(
            self._command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            ready = self._hear(START_S)
        except BaseException:
            self._kill()
            raise
        self.pid = self._process.pid
        self._paths = {side: f"/proc/{self.pid}/fd/{ready[side]['fd']}" for side in SIDES}
        self.namespace_ids = {side: ready[side]["inode"] for side in SIDES}
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._last = None
            with contextlib.suppress(EmulatorFailed):  # it died, and `report` says so
                self._last = self._hear(END_S)
        finally:
            self._kill()

    def _kill(self) -> None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()

    def _hear(self, seconds: float) -> dict[str, Any]:
        """The router's next line."""
        assert self._process is not None and self._process.stdout is not None
        output = self._process.stdout.fileno()
        deadline = monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                left = deadline - monotonic()
                if left <= 0 or not selector.select(left):
                    raise EmulatorFailed(f"the router did not answer within {seconds:g} s")
                data = os.read(output, 1 << 16)
                if not data:
                    code = self._process.wait(timeout=END_S)
                    raise EmulatorFailed(f"the router ended with status {code}")
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise EmulatorFailed(message["error"])
        return message

    def namespace(self, side: str) -> str:
        """A path for `enter`, in whatever process, as long as this emulator lives. `side`: "client" or "server"."""
        return self._paths[side]

    def host(self, side: str) -> str:
        """The IPv4 address of that side, within the namespaces."""
        return HOSTS[side]

    @property
    def unpublishable(self) -> str | None:
        """Why no figure over such a link is to be published, however well this run went; None for most links."""
        if self.link.delay_ms < PUBLISHED_DELAY_MS:
            return f"a delay under {PUBLISHED_DELAY_MS:g} ms one way: the emulator's own time is too large a part of it"
        return None

    def report(self) -> dict[str, Any]:
        """What the link did since it began; after the end, what it did in all.

        For each side that sends, "client" and "server": packets_in, bytes_in, packets_out, bytes_out, `dropped` by
        hole, mtu, queue, loss, overflow (our buffer), refused and device (the kernel's), duplicated, corrupted,
        reordered (drawn), overtaken (came after one sent later), queue_high_bytes, lateness_ns with n, p50, p99, p999
        and max. For both: seconds since the first packet, the router's cpu_s, spun_s, realtime, in_flight; `valid`, and
        `why` not; `unpublishable`, text or None.

        Raises:
            EmulatorFailed: the router died.
        """
        process = self._process
        if process is None:
            raise EmulatorFailed("not started")
        assert process.stdin is not None
        if not process.stdin.closed:
            try:
                process.stdin.write(b"report\n")
                process.stdin.flush()
            except BrokenPipeError:
                raise EmulatorFailed("the router is gone") from None
            self._last = self._hear(ANSWER_S)
        elif self._last is None:
            raise EmulatorFailed("the router died before its last report")
        why = verdict(self.link, self._last)
        return {**self._last, "valid": why is None, "why": why, "unpublishable": self.unpublishable}
