"""Errors: one root, texts that say what happened, close codes that survive the way to WebSocket and back."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from transport import errors
from transport.errors import (
    APPLICATION_CODE_MAX,
    CloseCode,
    CodecError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    InvalidURL,
    LocalProtocolError,
    MessageTooLarge,
    ProtocolError,
    RemoteProtocolError,
    TransportError,
    UnknownScheme,
    UnsupportedDelivery,
    UnsupportedOperation,
    WouldBlock,
    from_websocket,
    to_websocket,
)

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", CLASSES)
def test_one_root(kind: type[Exception]) -> None:
    assert issubclass(kind, TransportError)
    assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "parents"),
    [
        (ConnectionLost, (ConnectionClosed,)),
        (ConnectFailed, (OSError,)),
        (ConnectTimeout, (ConnectFailed, TimeoutError, OSError)),
        (LocalProtocolError, (ProtocolError,)),
        (RemoteProtocolError, (ProtocolError,)),
        (MessageTooLarge, (ValueError,)),
        (CodecError, (ValueError,)),
        (UnknownScheme, (LookupError,)),
        (UnsupportedDelivery, (ValueError,)),
        (InvalidURL, (ValueError,)),
    ],
)
def test_what_else_they_are(kind: type, parents: tuple[type, ...]) -> None:
    assert all(issubclass(kind, parent) for parent in parents)
    assert not issubclass(kind, ConnectionError)


def test_texts() -> None:
    assert str(ConnectionClosed()) == "connection closed by this side: 0 (normal)"
    lost = ConnectionLost(1009, "a frame of 9 bytes", True)
    assert str(lost) == "connection closed by the peer: 1009 (too large), a frame of 9 bytes"
    assert (lost.code, lost.reason, lost.by_peer) == (1009, "a frame of 9 bytes", True)
    assert str(ConnectionClosed(7, by_peer=True)) == "connection closed by the peer: 7 (application code)"
    large = MessageTooLarge(9, 8)
    assert str(large) == "message of 9 bytes is over the limit of 8 bytes (option max_message)"
    fixed = MessageTooLarge(70_000, 65_536, "unreliable message")
    assert str(fixed) == "unreliable message of 70000 bytes is over the limit of 65536 bytes"
    assert (large.size, large.limit) == (9, 8)
    assert str(MessageTooLarge(9, 8, "line")).startswith("line of 9")
    remote = RemoteProtocolError("bad magic")
    assert (str(remote), remote.reason, remote.code) == ("bad magic", "bad magic", CloseCode.PROTOCOL_ERROR)
    assert RemoteProtocolError("x", CloseCode.TOO_LARGE).code == 1009


def test_the_system_s_number_is_kept() -> None:
    error = ConnectFailed(111, "Connection refused")
    assert error.errno == 111
    assert isinstance(error, TransportError)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosed(5, "x", True), ConnectionLost(1006), MessageTooLarge(9, 8, "line"),
        RemoteProtocolError("a", 7),
        ConnectFailed(111, "refused"), ConnectTimeout("t"), CodecError("c"), WouldBlock("w"), UnsupportedOperation("u"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_they_travel_between_processes(error: Exception) -> None:
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


def test_close_codes_have_one_meaning_each() -> None:
    assert len({code.value for code in CloseCode}) == len(CloseCode)
    assert all(code == 0 or code > 1000 for code in CloseCode), "1-999 are the application's"


@pytest.mark.parametrize("code", [0, 1, 7, 500, APPLICATION_CODE_MAX])
def test_application_codes_come_back_from_websocket(code: int) -> None:
    assert from_websocket(to_websocket(code)) == code


@pytest.mark.parametrize("code", list(CloseCode))
def test_every_code_has_a_status_that_may_be_sent(code: CloseCode) -> None:
    """RFC 6455 section 7.4: 1004, 1005, 1006 and 1015 are never sent."""
    status = to_websocket(code)
    assert status in {1000, 1001, 1002, 1007, 1008, 1009, 1011, 1013}


def test_vectors_of_the_table() -> None:
    assert to_websocket(0) == 1000
    assert to_websocket(1) == 4001
    assert to_websocket(999) == 4999
    for same in (1001, 1002, 1007, 1008, 1009, 1011, 1013):
        assert to_websocket(same) == same == from_websocket(same)
    assert to_websocket(CloseCode.FLOW_CONTROL) == to_websocket(CloseCode.CODEC_MISMATCH) == 1002
    assert to_websocket(CloseCode.IDLE_TIMEOUT) == to_websocket(CloseCode.LOST) == 1001
    assert from_websocket(1000) == from_websocket(1005) == 0
    assert from_websocket(4000) == 4000
    assert from_websocket(3000) == 3000
