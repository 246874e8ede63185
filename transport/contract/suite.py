"""The suite as a whole: what a third party calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from transport.contract import base, callbacks, ending, flow, lanes, messages, reading, serving
from transport.contract.base import TIMEOUT_S, Arena, Check
from transport.transports.registry import Registry

AREAS = (messages, lanes, reading, flow, ending, serving, callbacks)
"""Imported so that their checks are known, in this order."""


def contract_checks() -> tuple[Check, ...]:
    """Every check, in the order in which they are best read: for a test of its own for each."""
    return tuple(base._CHECKS)


async def check_transport(
    url_factory: Callable[[], Any],
    *,
    registry: Registry | None = None,
    options: Mapping[str, Any] | None = None,
    server_options: Mapping[str, Any] | None = None,
    client_options: Mapping[str, Any] | None = None,
    dialect: str | None = "by traits",
    only: Collection[str] | None = None,
    skip: Collection[str] = (),
    timeout: float = TIMEOUT_S,
) -> list[str]:
    """Proves that a transport keeps the contract: all that its traits promise works, all else raises at the call.

    A transport of your own is proved by one test, best run once for each event loop that you support:

        import pytest, transport
        from transport.testing import check_transport

        @pytest.mark.asyncio
        async def test_contract(tmp_path):
            await check_transport(
                lambda: "serial:///dev/pts/7",
                registry=transport.Registry.default().register(SerialTransport()),
            )

    or, so that each promise is a test with a name, by a parameter:

        @pytest.mark.asyncio
        @pytest.mark.parametrize("check", transport.testing.contract_checks(), ids=lambda check: check.name)
        async def test_contract(check):
            await check_transport(url, registry=registry, only=[check.name])

    A link that may double or alter messages (`memory://x?duplicate=0.1`) keeps no promise that could be checked; one
    that loses, delays or reorders them does.

    Args:
        url_factory: gives a URL that a server can listen on (port 0, a new path, a new name); called for every server.
        registry: knows the transport; the default one when None.
        options: for `serve` and `connect` alike, such as `framing`.
        server_options, client_options: for one of them, such as a certificate.
        dialect: what `machine=` takes: "bytes" or "datagrams" (by default what the traits suggest), None for nothing.
        only: names of the checks to run, all when None.
        skip: names of checks to leave out.
        timeout: seconds for each check.

    Returns:
        The names of the checks that were run.

    Raises:
        AssertionError: a promise is broken. The text names the check, the promise, and what was expected and got.
        LookupError: `only` or `skip` names a check that does not exist.
    """
    known = {check.name: check for check in contract_checks()}
    unknown = {*(only or ()), *skip} - set(known)
    if unknown:
        raise LookupError(f"no check is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    arena = Arena(url_factory, registry, options or {}, server_options or {}, client_options or {}, dialect)
    names = [name for name in known if (only is None or name in only) and name not in skip]
    for name in names:
        await known[name].run(arena, timeout)
    return names
