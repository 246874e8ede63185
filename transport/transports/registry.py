"""Which transport serves which scheme: a value, not a global.

The default registry knows our own schemes by module name and imports one only when its scheme is used; packages add
theirs by the entry-point group `transport.schemes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from transport.errors import UnknownScheme

ENTRY_POINT_GROUP = "transport.schemes"
OWN = {
    "tcp": "transport.transports.tcp",
    "tls": "transport.transports.tls",
    "unix": "transport.transports.unix",
    "udp": "transport.transports.udp",
    "rudp": "transport.transports.rudp",
    "ws": "transport.transports.ws",
    "wss": "transport.transports.wss",
    "memory": "transport.transports.memory",
}


class Registry:
    """An immutable mapping from scheme to transport."""

    def __init__(self, transports: dict[str, Any] | None = None) -> None:
        self._transports = dict(transports or {})

    @classmethod
    def default(cls) -> Registry:
        """Our own schemes and those of installed packages."""
        return cls(dict(OWN))

    def register(self, transport: Any) -> Registry:
        """A registry that also knows `transport` (an object with `scheme`, `options`, `traits`, `connect`, `listen`).

        Raises:
            TypeError: something of that is missing.
        """
        missing = [
            name for name in ("scheme", "options", "traits", "connect", "listen") if not hasattr(transport, name)
        ]
        if missing:
            raise TypeError(f"{type(transport).__name__} is no transport: it lacks {', '.join(missing)}")
        return Registry({**self._transports, transport.scheme: transport})

    def find(self, scheme: str) -> Any:
        """The transport for `scheme`.

        Raises:
            UnknownScheme: nobody serves it; the text names the known ones.
        """
        found = self._transports.get(scheme)
        if found is None:
            found = self._installed(scheme)
        if found is None:
            raise UnknownScheme(f"no transport for {scheme}://; known: {', '.join(sorted(self._transports))}")
        if isinstance(found, str):
            module = import_module(found)
            found = self._transports[scheme] = module.TRANSPORT
        return found

    def _installed(self, scheme: str) -> Any:
        from importlib.metadata import entry_points

        for entry in entry_points(group=ENTRY_POINT_GROUP, name=scheme):
            transport = entry.load()
            self._transports[scheme] = transport
            return transport
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._transports))
