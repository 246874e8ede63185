"""TLS: who is believed, who is not, and what half-open handshakes may cost."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from typing import Any

import pytest

from tests.transports.conftest import Certificates, until
from transport import limits
from transport.api import connect, serve
from transport.errors import ConnectFailed, ConnectTimeout, InvalidURL, LocalProtocolError

URL = "tls://127.0.0.1:0"


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)


async def one_message(url: Any, **options: Any) -> Any:
    """Connects, echoes once, and returns what the TLS layer says of the peer's certificate."""
    async with connect(url, **options) as conn:
        await conn.send("hello")
        assert await conn.recv() == "hello"
        return conn.get_extra_info("ssl_object")


@pytest.mark.asyncio
async def test_a_trusted_certificate_for_that_name_is_believed(certificates: Certificates) -> None:
    async with serve(URL, echo, certfile=certificates.certfile) as server:
        tls = await one_message(server.url, cafile=certificates.cafile)
        assert tls.version() == "TLSv1.3"
        by_name = server.url.replace(host="localhost")
        assert await one_message(by_name, cafile=certificates.cafile)
        assert server.statistics().counters == {"handshakes": 0, "handshakes_failed": 0, "handshakes_dropped": 0}


@pytest.mark.asyncio
async def test_an_unknown_authority_is_refused_with_the_reason(certificates: Certificates) -> None:
    async with serve(URL, echo, certfile=certificates.certfile) as server:
        with pytest.raises(ConnectFailed, match="certificate is refused: .*(local issuer|self-signed)") as caught:
            await connect(server.url)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        await until(lambda: server.statistics().counters["handshakes_failed"] == 1)
        assert server.statistics().accepted == 0
        await one_message(server.url, cafile=certificates.cafile)


@pytest.mark.asyncio
async def test_a_certificate_for_another_name_is_refused(certificates: Certificates) -> None:
    other = certificates.issue("other.pem", "other.example")
    async with serve(URL, echo, certfile=other) as server:
        with pytest.raises(ConnectFailed, match="refused: .*not valid for '127.0.0.1'"):
            await connect(server.url, cafile=certificates.cafile)
        await one_message(server.url, cafile=certificates.cafile, server_name="other.example")


@pytest.mark.asyncio
async def test_verification_can_be_turned_off_but_not_by_a_url(certificates: Certificates) -> None:
    async with serve(URL, echo, certfile=certificates.certfile) as server:
        await one_message(server.url, verify=False)
        with pytest.raises(InvalidURL, match="no part of a URL"):
            await connect(f"{server.url}?verify=no")


@pytest.mark.asyncio
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_are_refused(certificates: Certificates, version: str) -> None:
    async with serve(URL, echo, certfile=certificates.certfile) as server:
        context = ssl.create_default_context(cafile=certificates.cafile)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ConnectFailed, match="TLS handshake"):
            await connect(server.url, ssl_context=context)


@pytest.mark.asyncio
async def test_clients_are_asked_for_a_certificate_where_cafile_is_given(certificates: Certificates) -> None:
    mine = certificates.issue("client.pem", "client@example.org")
    async with serve(URL, echo, certfile=certificates.certfile, cafile=certificates.cafile) as server:
        with pytest.raises(ConnectFailed):
            await connect(server.url, cafile=certificates.cafile)
        assert server.statistics().accepted == 0
        async with connect(server.url, cafile=certificates.cafile, certfile=mine) as conn:
            await conn.send(1)
            assert await conn.recv() == 1
            (peer,) = server.connections
            assert ("email", "client@example.org") in peer.get_extra_info("peercert")["subjectAltName"]


@pytest.mark.asyncio
async def test_alpn_is_agreed_on(certificates: Certificates) -> None:
    async with serve(URL, echo, certfile=certificates.certfile, alpn="two,three") as server:
        tls = await one_message(server.url, cafile=certificates.cafile, alpn=["one", "three"])
        assert tls.selected_alpn_protocol() == "three"


@pytest.mark.asyncio
async def test_a_context_of_the_callers_own(certificates: Certificates) -> None:
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(certificates.certfile)
    theirs = ssl.create_default_context(cafile=certificates.cafile)
    async with serve(URL, echo, ssl_context=ours) as server:
        assert await one_message(server.url, ssl_context=theirs)
        with pytest.raises(InvalidURL, match="expects SSLContext"):
            await connect(server.url, ssl_context="yes")


@pytest.mark.asyncio
async def test_renewed_certificates_are_used_by_the_next_connection(certificates: Certificates) -> None:
    """A file without its key yet is logged and ignored; connections that stand go on."""
    certfile = certificates.issue("renewed.pem", "127.0.0.1")

    def serial(tls: Any) -> str:
        return str(tls.getpeercert()["serialNumber"])

    async with serve(URL, echo, certfile=certfile) as server:
        async with connect(server.url, cafile=certificates.cafile) as standing:
            first = serial(standing.get_extra_info("ssl_object"))
            with open(certfile, "w") as file:
                file.write("no certificate at all")
            assert serial(await one_message(server.url, cafile=certificates.cafile)) == first
            certificates.issue("renewed.pem", "127.0.0.1")
            assert serial(await one_message(server.url, cafile=certificates.cafile)) != first
            await standing.send(2)
            assert await standing.recv() == 2


@pytest.mark.asyncio
async def test_an_encrypted_key_needs_its_password(certificates: Certificates) -> None:
    from cryptography.hazmat.primitives import serialization

    issued = certificates.authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    keyfile = certificates.folder / "encrypted.key"
    keyfile.write_bytes(pem)
    certfile = certificates.folder / "encrypted.pem"
    certfile.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    async with serve(URL, echo, certfile=certfile, keyfile=keyfile, password="secret") as server:
        await one_message(server.url, cafile=certificates.cafile)
    with pytest.raises(LocalProtocolError, match="the key is encrypted, give password="):
        await serve(URL, echo, certfile=certfile, keyfile=keyfile)
    with pytest.raises(LocalProtocolError, match="the password does not fit") as caught:
        await serve(URL, echo, certfile=certfile, keyfile=keyfile, password="wrong one")
    assert "wrong one" not in str(caught.value)
    with pytest.raises(InvalidURL, match="secret and refused in a URL"):
        await serve(f"{URL}?password=hunter2", echo, certfile=certfile, keyfile=keyfile)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "needs certfile="),
        ({"certfile": "no-such-file.pem"}, "no-such-file.pem.*No such file"),
        ({"certfile": __file__}, "holds no PEM"),
        ({"cafile": "no-such-file.pem"}, "needs certfile="),
        ({"keyfile": "some.key"}, "needs certfile="),
        ({"certfile": "CERT", "cafile": "no-such-file.pem"}, "cafile 'no-such-file.pem': No such file"),
        ({"certfile": "CERT", "verify": True}, "needs cafile"),
        ({"certfile": "CERT", "server_name": "x"}, "for clients"),
        ({"certfile": "CERT", "ssl_context": ssl.create_default_context()}, "already holds what certfile would set"),
    ],
)
async def test_a_server_is_told_what_is_wrong_with_its_options(
    certificates: Certificates, options: dict[str, Any], text: str
) -> None:
    options = {name: certificates.certfile if value == "CERT" else value for name, value in options.items()}
    with pytest.raises(LocalProtocolError, match=text):
        await serve(URL, echo, **options)


@pytest.mark.asyncio
@pytest.mark.parametrize("names", ["", "a,,b", [], [b"x"], ["x" * 256], ["x"] * 33, 5])
async def test_malformed_alpn_names_are_refused(names: Any) -> None:
    with pytest.raises(InvalidURL, match="alpn"):
        await connect("tls://127.0.0.1:1", alpn=names)


@pytest.mark.asyncio
async def test_a_server_that_speaks_no_tls_is_named_so(certificates: Certificates) -> None:
    async with serve("tcp://127.0.0.1:0", echo) as server:
        with pytest.raises(ConnectFailed, match="TLS handshake failed|closed the connection during the TLS handshake"):
            await connect(f"tls://127.0.0.1:{server.url.port}", cafile=certificates.cafile)


@pytest.mark.asyncio
async def test_a_server_that_never_answers_the_handshake(certificates: Certificates) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"tls://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectTimeout, match="not finished in time"):
            await connect(url, cafile=certificates.cafile, handshake_timeout=0.05)


@pytest.mark.asyncio
async def test_silent_clients_do_not_keep_others_out(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the bound of half-open handshakes accepting waits, and the oldest give way."""
    monkeypatch.setattr(limits, "HANDSHAKES_MAX", 8)
    monkeypatch.setattr(limits, "HANDSHAKE_CROWDED_S", 0.05)
    async with serve(URL, echo, certfile=certificates.certfile) as server:
        strangers = [socket.create_connection(("127.0.0.1", server.url.port)) for _ in range(30)]
        await one_message(server.url, cafile=certificates.cafile)
        counters = server.statistics().counters
        assert counters["handshakes"] <= 8
        assert counters["handshakes_dropped"] >= 22
        for stranger in strangers:
            stranger.close()


@pytest.mark.asyncio
async def test_many_clients_at_once_all_get_in(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKES_MAX", 4)
    async with serve(URL, echo, certfile=certificates.certfile) as server:
        await asyncio.gather(*(one_message(server.url, cafile=certificates.cafile) for _ in range(30)))
        assert server.statistics().accepted == 30
        assert server.statistics().counters["handshakes_dropped"] == 0


def test_other_schemes_load_no_certificate_code() -> None:
    """`ssl` itself comes with asyncio; what is ours must not."""
    code = (
        "import sys, transport\n"
        "async def main():\n"
        "    async with transport.serve('tcp://127.0.0.1:0') as server, transport.connect(server.url): pass\n"
        "transport.run(main())\n"
        "wrong = {'transport.transports.tls', 'transport.transports.certificates'} & set(sys.modules)\n"
        "assert not wrong, wrong\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=15)


@pytest.mark.asyncio
async def test_a_peer_that_never_ends_its_side_does_not_hold_up_a_close(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither our goodbye nor the TLS layer's is answered."""
    monkeypatch.setattr(limits, "TLS_SHUTDOWN_S", 0.05)
    context = ssl.create_default_context(cafile=certificates.cafile)
    async with serve(URL, echo, certfile=certificates.certfile) as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.url.port, ssl=context, server_hostname="127.0.0.1"
        )
        await until(lambda: server.connections)
        await server.close(grace=0.05)
        assert not server.connections
        while await reader.read(4096):
            pass
        writer.close()
        await writer.wait_closed()
