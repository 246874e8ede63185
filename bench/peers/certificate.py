"""A self-signed certificate for `localhost`, public on purpose: it protects nothing but the loopback of a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

CERTIFICATE = Path(__file__).with_name("localhost.pem")
KEY = Path(__file__).with_name("localhost.key")


def server_context() -> ssl.SSLContext:
    """TLS 1.3 as the standard library sets it up, with the benchmark's certificate."""
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


def client_context() -> ssl.SSLContext:
    """Verifies the server by the benchmark's certificate."""
    import ssl

    return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(CERTIFICATE))
