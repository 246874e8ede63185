"""What a stranger can have, as docs/protocol.md tabulates it: every figure is that of its constant and its option."""

from __future__ import annotations

from tests.docs import options_table
from tests.docs.test_protocol_vectors import tables
from transport import limits
from transport.transports.registry import Registry

ROWS = list(tables("what", "figure", "constant", "option"))


def spelled(name: str) -> str:
    """A limit as a person reads it."""
    value = getattr(limits, name)
    if name.endswith("_NS"):
        return f"{value / limits.SECOND_NS:g} s" if value >= limits.SECOND_NS else f"{value // limits.MS_NS} ms"
    if name.endswith("_S") and not name.endswith("_PER_S"):
        return f"{value:g} s"
    if "_BYTES" in name and value >= 4 * limits.KIB:
        return f"{value // limits.MIB} MiB" if value % limits.MIB == 0 else f"{value // limits.KIB} KiB"
    return f"{value:,} bytes" if "_BYTES" in name else f"{value:,}"


def test_figures() -> None:
    assert len(ROWS) > 30
    for what, figure, constant, _ in ROWS:
        assert figure == spelled(constant), f"{what}: limits.{constant}"


def test_options_exist_and_have_that_default() -> None:
    registry = Registry.default()
    known: dict[str, set[str]] = {}
    schemes = ("tcp", "tls", "udp", "rudp", "ws")
    for options in (options_table.COMMON, *(registry.find(scheme).options for scheme in schemes)):
        for option in options.values():
            known.setdefault(option.name, set()).add(options_table.default(option))
    for what, figure, constant, name in ROWS:
        if name and name != "cookie":  # it says when, not how much
            default = figure.replace(",", "").replace(" ", "")
            assert default in known[name], f"{what}: {name} of {known[name]}, limits.{constant}"
    assert known["cookie"] == {"adaptive"}
