"""`wss://host:port/path`: WebSocket behind the TLS of `tls://`, with its options and its checks."""

from __future__ import annotations

from collections.abc import Mapping

from transport.drive.base import Owner
from transport.options import Option
from transport.transports import certificates, pipe, tcp, tls, ws
from transport.transports.base import Listener, Request
from transport.transports.listen import Shared


class SecureWebSocketTransport(ws.WebSocketTransport):
    """The record of the scheme."""

    scheme = "wss"
    options: Mapping[str, Option] = {**ws.OPTIONS, **certificates.OPTIONS}

    async def connect(self, request: Request) -> Owner:
        """Resolves, races the addresses, shakes hands and asks for the WebSocket. Raises ConnectFailed."""
        made = self.client(request)
        arguments = await tls.client_arguments(request)
        sock = await tcp.open_socket(request)
        return await pipe.start(made, self.traits(request), sock, arguments, tls.explain)  # type: ignore[no-any-return]

    async def listen(self, request: Request) -> Listener:
        """Binds every address of the host. Raises OSError, or LocalProtocolError for what is wrong with a file."""
        traits = self.check_server(request)
        secure = tls.server_arguments(request)
        socks = await tcp.open_listeners(request)
        return ws.WebSocketListener(request, traits, socks, tcp.real_url(request.url, socks), secure)

    async def share(self, request: Request, count: int) -> Shared:
        """Listening sockets for `count` processes; see `tcp.share`."""
        tls.server_arguments(request)  # a mistake shows here, not in every process
        return await super().share(request, count)


TRANSPORT = SecureWebSocketTransport()
