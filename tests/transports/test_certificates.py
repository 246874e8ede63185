"""TLS contexts: made once for many connects, never half changed."""

from __future__ import annotations

import os
import ssl

import pytest

from tests.transports.conftest import Certificates
from transport.errors import LocalProtocolError
from transport.transports import certificates as made


def test_clients_with_the_same_options_share_a_context(certificates: Certificates) -> None:
    options = {"cafile": certificates.cafile, "server_name": "a", "nodelay": True}
    first = made.client_contexts(options)
    assert made.client_contexts({**options, "server_name": "b"}) is first
    assert first.current() is first.current()
    assert made.client_contexts({**options, "verify": False}) is not first
    own = ssl.create_default_context()
    assert made.client_contexts({"ssl_context": own}).current() is own


def test_so_many_contexts_are_kept_and_the_oldest_goes(certificates: Certificates) -> None:
    kept = made.client_contexts({"alpn": ("kept",)})
    first = made.client_contexts({"alpn": ("0",)})
    for number in range(1, 2 * made.CONTEXTS_MAX):
        made.client_contexts({"alpn": (str(number),)})
        made.client_contexts({"alpn": ("kept",)})
    assert len(made._clients) == made.CONTEXTS_MAX
    assert made.client_contexts({"alpn": ("kept",)}) is kept
    assert made.client_contexts({"alpn": ("0",)}) is not first


def test_defaults_are_safe(certificates: Certificates) -> None:
    client = made.make_context({}, server=False)
    assert client.verify_mode is ssl.CERT_REQUIRED
    assert client.check_hostname
    server = made.make_context({"certfile": certificates.certfile}, server=True)
    assert server.verify_mode is ssl.CERT_NONE
    for context in (client, server):
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION
    asking = made.make_context({"certfile": certificates.certfile, "cafile": certificates.cafile}, server=True)
    assert asking.verify_mode is ssl.CERT_REQUIRED


def test_a_key_without_a_certificate_is_a_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="keyfile needs certfile"):
        made.Contexts({"keyfile": "x"}, server=False)


def test_files_that_are_of_no_use_are_looked_at_once(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    certfile = certificates.issue("looked-at.pem", "127.0.0.1")
    contexts = made.Contexts({"certfile": certfile}, server=True)
    good = contexts.current()
    os.unlink(certfile)
    for _ in range(3):
        assert contexts.current() is good
    assert caplog.text.count("No such file") == 1
    certificates.issue("looked-at.pem", "127.0.0.1")
    renewed = contexts.current()
    assert renewed is not good
    assert contexts.current() is renewed


def test_a_password_is_text_or_bytes_and_a_secret() -> None:
    with pytest.raises(ValueError, match="expects text or bytes"):
        made.OPTIONS["password"].parse(5)
    assert made.OPTIONS["password"].secret
    assert made.OPTIONS["password"].parse(b"x") == b"x"
