"""The handshake's header fields: RFC 6455 sections 1.3, 4.1, 4.2, 9.1 and 10.2."""

from __future__ import annotations

from typing import Any

import pytest

from tests.websocket.by_hand import REQUEST_ACCEPT, REQUEST_KEY, config
from transport import limits
from transport.websocket import upgrade
from transport.websocket.upgrade import Refused


def lines(**changed: Any) -> list[tuple[bytes, bytes]]:
    """Header lines of a good request; a value of None leaves one out, a list gives it more than once."""
    usual: dict[str, Any] = {
        "host": "example.com", "upgrade": "websocket", "connection": "Upgrade", "sec_websocket_version": "13",
        "sec_websocket_key": REQUEST_KEY.decode(), **changed,
    }  # fmt: skip
    found = []
    for name, value in usual.items():
        for each in value if isinstance(value, list) else [] if value is None else [value]:
            found.append((name.replace("_", "-").encode(), each.encode("latin-1")))
    return found


def status(method: bytes = b"GET", version: bytes = b"1.1", options: Any = None, **changed: Any) -> int:
    """The status that a request gets."""
    try:
        upgrade.check_request(method, version, lines(**changed), config(**(options or {})))
    except Refused as refused:
        return refused.status
    return 101


def test_1_3_the_example() -> None:
    assert upgrade.accept_of(REQUEST_KEY) == REQUEST_ACCEPT


def test_4_2_1_a_good_request() -> None:
    assert status() == 101
    assert status(upgrade="WebSocket", connection="keep-alive, UPGRADE") == 101
    assert status(upgrade=["h2c", "websocket"], connection=["keep-alive", "upgrade"]) == 101


@pytest.mark.parametrize(
    ("wanted", "changed"),
    [
        (405, {"method": b"POST"}),
        (405, {"method": b"HEAD"}),
        (505, {"version": b"1.0"}),
        (426, {"upgrade": None}),
        (426, {"upgrade": "h2c"}),
        (426, {"upgrade": "websockets"}),
        (400, {"connection": None}),
        (400, {"connection": "keep-alive"}),
        (400, {"sec_websocket_version": None}),
        (426, {"sec_websocket_version": "8"}),
        (426, {"sec_websocket_version": "013"}),
        (426, {"sec_websocket_version": ["13", "8"]}),
        (426, {"sec_websocket_version": "13, 8"}),
        (426, {"sec_websocket_version": ""}),
        (426, {"sec_websocket_version": "14"}),
        (400, {"sec_websocket_key": None}),
        (400, {"sec_websocket_key": [REQUEST_KEY.decode(), REQUEST_KEY.decode()]}),
        (400, {"sec_websocket_key": ""}),
        (400, {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ"}),  # no padding
        (400, {"sec_websocket_key": "dGhlIHNhbXBsZSBub25j"}),  # 15 bytes
        (400, {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZWU="}),  # 17
        (400, {"sec_websocket_key": "dGhlIHNhb*BsZSBub25jZQ=="}),
        (400, {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==="}),
    ],
)
def test_4_2_1_a_bad_request(wanted: int, changed: Any) -> None:
    assert status(**changed) == wanted


def test_4_4_the_version_is_told() -> None:
    with pytest.raises(Refused) as caught:
        upgrade.check_request(b"GET", b"1.1", lines(sec_websocket_version="7"), config())
    assert caught.value.headers == [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]


SAME = [
    ("example.com", "http://example.com"),
    ("example.com", "https://example.com"),
    ("EXAMPLE.com", "http://example.COM"),
    ("example.com:80", "http://example.com"),
    ("example.com", "http://example.com:80"),
    ("example.com:8080", "http://example.com:8080"),
    ("example.com", "https://example.com:443"),
    ("[::1]:8080", "http://[::1]:8080"),
]
OTHER = [
    ("example.com", "http://example.org"),
    ("example.com", "http://sub.example.com"),
    ("example.com", "http://example.com.evil.org"),
    ("example.com:8080", "http://example.com"),
    ("example.com", "http://example.com:8080"),
    ("example.com", "https://example.com:80"),
    ("example.com", "null"),
    ("example.com", ""),
    ("example.com", "file://"),
    ("example.com", "chrome-extension://example.com"),
    ("example.com", "http://example.com/"),
    ("example.com", ["http://example.com", "http://example.com"]),
]


@pytest.mark.parametrize(("host", "origin"), SAME)
def test_10_2_a_page_of_the_same_host_may_connect(host: str, origin: str) -> None:
    assert status(host=host, origin=origin) == 101


@pytest.mark.parametrize(("host", "origin"), OTHER)
def test_10_2_a_page_of_another_host_may_not(host: str, origin: Any) -> None:
    counts: dict[str, int] = {}
    assert status(host=host, origin=origin, options={"counts": counts}) == 403
    assert counts == {"origins_refused": 1}
    assert status(host=host, origin=origin, options={"origins": ()}) == 101


def test_10_2_listed_origins() -> None:
    listed = {"origins": ("https://app.example", "null")}
    assert status(origin="https://app.example", options=listed) == 101
    assert status(origin="https://APP.example", options=listed) == 101
    assert status(origin="null", options=listed) == 101
    assert status(origin="http://app.example", options=listed) == 403
    assert status(origin="http://example.com", options=listed) == 403  # its own is not on the list
    assert status(options=listed) == 101  # no browser


@pytest.mark.parametrize(
    ("offered", "known", "chosen"),
    [
        ([], ("a",), ""),
        (["a"], (), ""),
        (["b, a"], ("a", "b"), "b"),
        (["c", "a, b"], ("a", "b"), "a"),
        (["A"], ("a",), ""),
        ([" a ,, b"], ("b",), "b"),
    ],
)
def test_4_2_2_the_first_subprotocol_that_both_know(offered: list[str], known: tuple[str, ...], chosen: str) -> None:
    found = upgrade.choose_subprotocol(lines(sec_websocket_protocol=offered), config(subprotocols=known))
    assert found == chosen


@pytest.mark.parametrize("value", ["a, a", "a b", 'a, "b"', ", ".join(f"p{n}" for n in range(33))])
def test_4_1_subprotocols_that_are_none(value: str) -> None:
    with pytest.raises(Refused) as caught:
        upgrade.choose_subprotocol(lines(sec_websocket_protocol=value), config(subprotocols=("a",)))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []),
        (" , ,", []),
        ("foo", [("foo", [])]),
        ("foo,bar", [("foo", []), ("bar", [])]),
        ("foo; a; b=1 ;c = 2", [("foo", [("a", None), ("b", "1"), ("c", "2")])]),
        ('foo; a="10"', [("foo", [("a", "10")])]),
        ('foo; a="1\\0", bar; x', [("foo", [("a", "10")]), ("bar", [("x", None)])]),
        ("foo ,bar ; a", [("foo", []), ("bar", [("a", None)])]),
    ],
)
def test_9_1_extensions(value: str, found: Any) -> None:
    assert upgrade.extensions(lines(sec_websocket_extensions=value)) == found


MALFORMED = (
    "foo bar", "foo; =1", "foo;", "foo;; a", "foo,; a", 'foo; a="b', 'foo; a="b c"', 'foo; a=""', "foo; a=",
    "foo; a=b=c", "@", "x" * 5000,
)  # fmt: skip


@pytest.mark.parametrize("value", MALFORMED)
def test_9_1_extensions_that_are_none(value: str) -> None:
    headers = lines(sec_websocket_extensions=value)
    with pytest.raises(ValueError, match="Sec-WebSocket-Extensions"):
        upgrade.extensions(headers)
    with pytest.raises(Refused) as caught:
        upgrade.choose_extension(headers, config(compression=True))
    assert caught.value.status == 400


def test_9_1_lines_are_one_list_in_their_order() -> None:
    headers = lines(sec_websocket_extensions=["foo; a, bar", "foo; b"])
    assert upgrade.extensions(headers) == [("foo", [("a", None)]), ("bar", []), ("foo", [("b", None)])]


def test_extensions_take_linear_time() -> None:
    value = "a;b=" + '"' + "\\x" * ((limits.WS_EXTENSION_BYTES_MAX - 6) // 2)
    with pytest.raises(ValueError, match="malformed"):
        upgrade.extensions([(b"sec-websocket-extensions", value.encode())])


def answer(**changed: Any) -> list[tuple[bytes, bytes]]:
    usual: dict[str, Any] = {"host": None, "sec_websocket_version": None, "sec_websocket_key": None,
                             "sec_websocket_accept": REQUEST_ACCEPT.decode()}  # fmt: skip
    return lines(**{**usual, **changed})


def test_4_1_a_good_answer() -> None:
    assert upgrade.check_answer(answer(), REQUEST_KEY, config()) == ("", None)
    spelled = answer(upgrade="WebSocket", connection="x, UPGRADE", sec_websocket_accept=f" {REQUEST_ACCEPT.decode()} ")
    assert upgrade.check_answer(spelled, REQUEST_KEY, config()) == ("", None)
    wanted = config(subprotocols=("a", "b"))
    assert upgrade.check_answer(answer(sec_websocket_protocol="b"), REQUEST_KEY, wanted) == ("b", None)


@pytest.mark.parametrize(
    "changed",
    [
        {"upgrade": None},
        {"upgrade": "h2c"},
        {"connection": "close"},
        {"sec_websocket_accept": None},
        {"sec_websocket_accept": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"sec_websocket_accept": [REQUEST_ACCEPT.decode()] * 2},
        {"sec_websocket_accept": REQUEST_ACCEPT.decode().lower()},
        {"sec_websocket_protocol": "c"},
        {"sec_websocket_protocol": ["a", "b"]},
        {"sec_websocket_protocol": "A"},
        {"sec_websocket_extensions": "foo"},
        {"sec_websocket_extensions": "permessage-deflate"},
    ],
)
def test_4_1_a_bad_answer(changed: Any) -> None:
    with pytest.raises(ValueError, match=".+"):
        upgrade.check_answer(answer(**changed), REQUEST_KEY, config(subprotocols=("a", "b")))


def test_11_3_2_an_answer_has_one_line_of_extensions() -> None:
    twice = answer(sec_websocket_extensions=["permessage-deflate", ""])
    with pytest.raises(ValueError, match="stands twice"):
        upgrade.check_answer(twice, REQUEST_KEY, config(compression=True))
    _, agreed = upgrade.check_answer(answer(sec_websocket_extensions="permessage-deflate"), REQUEST_KEY,
                                     config(compression=True))  # fmt: skip
    assert agreed is not None
