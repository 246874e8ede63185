"""`tls://host:port`: messages over TCP, encrypted by the standard library on the loop's own transports.

Certificates and names are verified unless the program says otherwise. A certificate that is renewed on disk is taken up
by the next connection (see `certificates.Contexts.current`); connections that stand keep theirs.

Truncation: our own framing ends with a goodbye, so an attacker who cuts the connection is noticed. A foreign framing
that takes the end of the stream for the end of a message is not so protected.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from transport import limits
from transport.delivery import Traits
from transport.drive.base import Owner
from transport.errors import ConnectFailed, ConnectTimeout
from transport.options import Option
from transport.transports import certificates, pipe, tcp
from transport.transports.base import Listener, Request
from transport.transports.listen import PipeListener, Shared


class TlsTransport:
    """The record of the scheme."""

    scheme = "tls"
    options: Mapping[str, Option] = {**tcp.OPTIONS, **certificates.OPTIONS}

    def traits(self, request: Request) -> Traits:
        """As tcp, and encrypted; without verification only against those who listen, not against impostors."""
        return pipe.traits(request, encrypted=True)

    async def connect(self, request: Request) -> Owner:
        """Resolves, races the addresses, shakes hands and starts the session.

        Raises:
            ConnectFailed: also when the server's certificate is refused; the text says why.
            LocalProtocolError: a file of the options is of no use.
        """
        arguments = await client_arguments(request)
        sock = await tcp.open_socket(request)
        return await pipe.start(request, self.traits(request), sock, arguments, explain)  # type: ignore[no-any-return]

    async def listen(self, request: Request) -> Listener:
        """Binds every address of the host. Raises OSError, or LocalProtocolError for what is wrong with a file."""
        secure = server_arguments(request)
        socks = await tcp.open_listeners(request)
        return PipeListener(request, self.traits(request), socks, tcp.real_url(request.url, socks), secure=secure)

    async def share(self, request: Request, count: int) -> Shared:
        """Listening sockets for `count` processes; see `tcp.share`."""
        server_arguments(request)  # a mistake shows here, not in every process
        return await tcp.share(request, count)


async def client_arguments(request: Request) -> dict[str, Any]:
    """The loop's arguments for a client's handshake. Raises LocalProtocolError for a file of no use."""
    contexts = certificates.client_contexts(request.options)
    context = await asyncio.get_running_loop().run_in_executor(None, contexts.current)
    return {
        "ssl": context,
        "server_hostname": request.options.get("server_name") or _name(request.url.host),
        **_times(request),
    }


def server_arguments(request: Request) -> Callable[[], Mapping[str, Any]]:
    """What gives the loop's arguments for a server's handshakes. Raises LocalProtocolError for a file of no use."""
    contexts = certificates.Contexts(request.options, server=True)
    contexts.current()
    times = _times(request)
    return lambda: {"ssl": contexts.current(), **times}


def _times(request: Request) -> dict[str, Any]:
    seconds = request.options.get("handshake_timeout", limits.HANDSHAKE_NS / limits.SECOND_NS)
    return {"ssl_handshake_timeout": seconds, "ssl_shutdown_timeout": limits.TLS_SHUTDOWN_S}


def _name(host: str) -> str:
    """The name as a certificate has it: no scope of an address, no dot of the root (RFC 6066 section 3)."""
    return host.partition("%")[0].rstrip(".")


def explain(request: Request, error: OSError) -> ConnectFailed:
    """What went wrong with a handshake, in words a user can act on."""
    url = request.url.redacted()
    failed: ConnectFailed
    if isinstance(error, ssl.SSLCertVerificationError):
        failed = ConnectFailed(
            f"{url}: the server's certificate is refused: {error.verify_message} (options cafile, server_name, verify)"
        )
    elif isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        failed = ConnectFailed(f"{url}: the TLS handshake failed: {reason}")
    elif isinstance(error, ConnectionAbortedError):  # the loop's own time-out
        failed = ConnectTimeout(f"{url}: the TLS handshake was not finished in time")
    elif isinstance(error, ConnectionResetError):
        failed = ConnectFailed(f"{url}: the server closed the connection during the TLS handshake")
    else:
        return pipe.failure(request, error)
    failed.errno = error.errno
    return failed


TRANSPORT = TlsTransport()
