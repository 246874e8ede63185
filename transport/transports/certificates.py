"""TLS contexts of the standard library, made from options, and made again when their files change.

Exists so that defaults are safe (verified peers, TLS 1.2 at least, no renegotiation) and a renewed certificate needs no
restart. It must never leave a context half changed: a new one takes the place of the old, or the old one stays.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from typing import Any

from transport import limits
from transport.errors import LocalProtocolError
from transport.options import Option, boolean, instance, path, table, text

log = logging.getLogger("transport")
FILES = ("certfile", "keyfile", "cafile")
SHAPING = (*FILES, "password", "verify", "alpn")  # what a context is made from
CONTEXTS_MAX = 16

Signature = tuple[tuple[int, int, int] | None, ...]


def _alpn(value: object) -> tuple[str, ...]:
    """Protocol names, as a list or separated by commas."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("expects protocol names such as h2,http/1.1")
    if len(names) > limits.ALPN_NAMES_MAX:
        raise ValueError(f"more than {limits.ALPN_NAMES_MAX} protocol names")
    for name in names:
        if not name or not name.isascii() or len(name) > limits.ALPN_NAME_BYTES_MAX:
            raise ValueError(f"a protocol name has 1 to {limits.ALPN_NAME_BYTES_MAX} ASCII characters")
    return tuple(names)


def _password(value: object) -> str | bytes:
    if not isinstance(value, str | bytes):
        raise ValueError("expects text or bytes")  # noqa: TRY004
    return value


OPTIONS: Mapping[str, Option] = table(
    Option("certfile", path, "this side's certificate and its chain, PEM"),
    Option("keyfile", path, "its private key, PEM; may also stand in certfile"),
    Option("password", _password, "of an encrypted private key", secret=True),
    Option("cafile", path, "who may sign the peer's certificate, PEM; the system's authorities otherwise"),
    Option("server_name", text, "name that the server's certificate must carry, if it is not the URL's host"),
    Option("verify", boolean, "client: check the server's certificate and name (default). Server: demand a certificate "
           "of every client (default where cafile is given)", keyword_only=True),
    Option("alpn", _alpn, "application protocols offered or accepted, best first (RFC 7301)"),
    Option("ssl_context", instance(ssl.SSLContext), "a ready context instead of all of these but server_name",
           keyword_only=True),
)  # fmt: skip


class Contexts:
    """The context for new handshakes of one listener or one kind of connect."""

    def __init__(self, options: Mapping[str, Any], *, server: bool) -> None:
        self._options = options
        self._server = server
        self._given: ssl.SSLContext | None = options.get("ssl_context")
        self._context: ssl.SSLContext | None = None
        self._signature: Signature = ()
        self._refused: Signature | None = None
        _check(options, server)

    def current(self) -> ssl.SSLContext:
        """The context, renewed when a file has changed since the last call.

        Files that do not make a context (a certificate already written, its key not yet) are logged and leave the old
        one in force until they change again. A context given by `ssl_context` is the caller's to renew, by calling its
        own `load_cert_chain`.

        Raises:
            LocalProtocolError: the first one can't be made.
        """
        if self._given is not None:
            return self._given
        signature = _signature(self._options)
        if self._context is None:
            self._context = make_context(self._options, server=self._server)
            self._signature = signature
        elif signature not in (self._signature, self._refused):
            try:
                self._context = make_context(self._options, server=self._server)
                self._signature = signature
                self._refused = None
                log.info("certificates have changed, new connections use the new ones")
            except LocalProtocolError as error:
                self._refused = signature
                log.warning("changed certificates are of no use, the old ones stay in force: %s", error)
        return self._context


_clients: dict[Any, Contexts] = {}


def client_contexts(options: Mapping[str, Any]) -> Contexts:
    """Contexts shared by all connects with the same options: reading the system's authorities takes milliseconds."""
    if "ssl_context" in options:
        return Contexts(options, server=False)
    shaping = {name: options[name] for name in SHAPING if name in options}
    key = tuple(sorted(shaping.items(), key=lambda item: item[0]))
    found = _clients.pop(key, None) or Contexts(shaping, server=False)
    _clients[key] = found  # last in line: the least recently used one goes first
    while len(_clients) > CONTEXTS_MAX:
        del _clients[next(iter(_clients))]
    return found


def _check(options: Mapping[str, Any], server: bool) -> None:
    """Raises LocalProtocolError for options that do not go together."""
    if "ssl_context" in options:
        beside = sorted(name for name in SHAPING if name in options)
        if beside:
            raise LocalProtocolError(f"tls: ssl_context already holds what {', '.join(beside)} would set")
    elif server and "certfile" not in options:
        raise LocalProtocolError("tls: a server needs certfile= (and keyfile=), or ssl_context=")
    elif "certfile" not in options and "keyfile" in options:
        raise LocalProtocolError("tls: keyfile needs certfile")
    if server and options.get("verify") and "cafile" not in options:
        raise LocalProtocolError("tls: verify on a server needs cafile, the authority that signs the clients")
    if server and "server_name" in options:
        raise LocalProtocolError("tls: server_name is for clients")


def make_context(options: Mapping[str, Any], *, server: bool) -> ssl.SSLContext:
    """A context from options. Raises LocalProtocolError, naming the option."""
    cafile = options.get("cafile")
    purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
    try:
        context = ssl.create_default_context(purpose, cafile=cafile)
    except OSError as error:
        raise LocalProtocolError(f"tls: cafile {cafile!r}: {_reason(error)}") from None
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if server:
        if options.get("verify", cafile is not None):
            context.verify_mode = ssl.CERT_REQUIRED
    elif not options.get("verify", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "alpn" in options:
        context.set_alpn_protocols(list(options["alpn"]))
    if "certfile" in options:
        _load(context, options["certfile"], options.get("keyfile"), options.get("password"))
    return context


def _load(context: ssl.SSLContext, certfile: str, keyfile: str | None, password: str | bytes | None) -> None:
    wanted = False

    def ask() -> str | bytes:  # without it OpenSSL asks on the terminal
        nonlocal wanted
        wanted = True
        return password or b""

    what = f"certfile {certfile!r}" + (f", keyfile {keyfile!r}" if keyfile else "")
    try:
        context.load_cert_chain(certfile, keyfile, ask)
    except (OSError, ValueError) as error:  # ValueError: a password of absurd length
        if wanted:
            hint = "the password does not fit" if password else "the key is encrypted, give password="
            raise LocalProtocolError(f"tls: {what}: {hint}") from None
        raise LocalProtocolError(f"tls: {what}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "holds no PEM of what belongs there").replace("_", " ")
    return getattr(error, "strerror", None) or str(error)


def _signature(options: Mapping[str, Any]) -> Signature:
    """What changes when one of the files does."""
    found: list[tuple[int, int, int] | None] = []
    for name in FILES:
        try:
            status = os.stat(options[name])
        except (KeyError, OSError):
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)
