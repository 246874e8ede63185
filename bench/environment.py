"""Where a figure was taken: everything that moves a latency and is not the code measured.

It must never record anything that names a person or a place: no host name, user, path or address.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from bench.child import ROOT
from bench.procstat import cpu_ticks

SYSCTLS = (
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_available_congestion_control",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.core.rmem_default",
    "net.core.wmem_default",
    "net.core.busy_poll",
    "kernel.sched_rt_runtime_us",
    "kernel.sched_autogroup_enabled",  # 1: what runs in another session takes an equal share, whatever its priority
)


def read(path: str) -> str | None:
    """A small file's text, or None."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def cpu_info() -> dict[str, Any]:
    """Model, how many, whether a hypervisor lies below."""
    text = read("/proc/cpuinfo") or ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    return {
        "model": fields.get("model name", platform.processor() or "unknown"),
        "count": os.cpu_count(),
        "usable": sorted(os.sched_getaffinity(0)),
        "hypervisor": " hypervisor" in fields.get("flags", ""),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def clock_cost_ns() -> int:
    """What one reading of the clock costs, median of many."""
    costs = []
    for _ in range(2001):
        first = perf_counter_ns()
        costs.append(perf_counter_ns() - first)
    return sorted(costs)[len(costs) // 2]


def git_state() -> dict[str, Any]:
    """Commit, whether the tree differs from it, and a hash of how; empty outside a checkout."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=10, check=False
        )
        if commit.returncode:
            return {"commit": None, "dirty": None, "changes": None}
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        changes = subprocess.run(
            ["git", "diff", "--binary", "HEAD"], cwd=ROOT, capture_output=True, timeout=20, check=False
        ).stdout
        return {
            "commit": commit.stdout.strip(),
            "dirty": bool(status.stdout.strip()),
            "changes": hashlib.sha256(changes).hexdigest()[:16] if changes else None,
        }
    except (OSError, subprocess.TimeoutExpired):
        return {"commit": None, "dirty": None, "changes": None}


def steal_since_boot() -> float | None:
    """Steal as a share of all time since boot, in percent."""
    try:
        steal, total = cpu_ticks(set(range(os.cpu_count() or 1)))
    except (OSError, ValueError):
        return None
    return round(100 * steal / total, 3) if total else None


def environment() -> dict[str, Any]:
    """For the result file."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": cpu_info(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "python_flags": {"optimize": sys.flags.optimize, "dev_mode": sys.flags.dev_mode},
        "clock": {
            "source": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            "cost_ns": clock_cost_ns(),
        },
        "sysctl": {name: read("/proc/sys/" + name.replace(".", "/")) for name in SYSCTLS},
        "loopback_mtu": read("/sys/class/net/lo/mtu"),
        "load_average": list(os.getloadavg()),
        "steal_percent_since_boot": steal_since_boot(),
    }


def congestion_control(env: dict[str, Any]) -> str:
    """The machine's default, which holds over loopback; over an emulated link it is another (`tables`)."""
    return env["sysctl"].get("net.ipv4.tcp_congestion_control") or "unknown"


def build_text(peers: list[dict[str, Any]]) -> str | None:
    """Whether ours ran compiled, from what the peers say; None when ours did not run."""
    said = {peer["versions"].get("compiled") for peer in peers if peer["kind"] == "ours"}
    if not said:
        return None
    return "compiled" if said == {"True"} else "INTERPRETED"


def one_line(env: dict[str, Any]) -> str:
    """The environment in one line under a table."""
    cpu = env["cpu"]
    where = " in a virtual machine" if cpu["hypervisor"] else ""
    return (
        f"{env['system']} {env['kernel'].partition('-')[0]}, {cpu['model']} x {len(cpu['usable'])}{where}, "
        f"{env['implementation']} {env['python']}"
    )
