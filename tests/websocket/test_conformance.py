"""The groups of the public conformance suite for WebSocket, each of its cases by number, on our own sessions.

The suite itself runs against an echo server over sockets and takes minutes; here a session echoes in the test, and
every case runs in a few ways of cutting its bytes. The cases are written from what the suite is documented to check.
"""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.websocket.by_hand import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    client,
    close_body,
    feed,
    frames_of,
    messages,
    said,
    server,
    turn,
    written,
)
from tests.websocket.by_hand import frame as by_hand
from transport import limits
from transport.websocket import deflate, upgrade
from transport.websocket.config import WebSocketConfig
from transport.websocket.deflate import Compressor
from transport.websocket.session import WebSocketSession
from transport.websocket.states import Phase

Make = Callable[..., WebSocketSession]
SIDES: dict[str, tuple[Make, bytes | None]] = {"server": (server, KEY), "client": (client, None)}
CUTS = (1, 2, 3, 997, 1 << 60)


@pytest.fixture(params=list(SIDES))
def peer(request: pytest.FixtureRequest) -> tuple[Make, Callable[..., bytes]]:
    """How to make the side under test, and the frames of the other."""
    make, key = SIDES[request.param]
    return make, functools.partial(by_hand, key=key)


def echoing(one: WebSocketSession, data: bytes, cut: int = 1 << 60) -> list[Frame]:
    """What an echo server says to `data`: its program answers whatever has come of each piece."""
    wire = b""
    for at in range(0, len(data), cut):
        one.receive(data[at : at + cut], 0)
        while True:
            for message in messages(one):
                if one.state == Phase.OPEN:
                    one.send(message, 0, 0, 0, 0, 0)
            wire += written(one)
            if not one.is_full:
                break
            one.expire(0)
    found, left = frames_of(wire)
    assert left == b""
    return [Frame(each.opcode, each.payload) for each in found]


def fails(status: int) -> Frame:
    return Frame(CLOSE, close_body(status))


def checked(peer: Any, data: bytes, wanted: list[Frame], cuts: tuple[int, ...] = CUTS, **options: Any) -> None:
    """An echo says exactly this, however its input is cut. Of a CLOSE only the status is compared."""
    make, _ = peer
    for cut in cuts:
        if cut < 64 and len(data) > 3000:
            continue
        one = make(**options)
        found = echoing(one, data, cut)
        found = [Frame(CLOSE, each.payload[:2]) if each.opcode == CLOSE else each for each in found]
        assert found == wanted, cut
        assert (one.state == Phase.CLOSED) == (bool(wanted) and wanted[-1].opcode == CLOSE)


# 1 Framing


@pytest.mark.parametrize("size", [0, 125, 126, 127, 128, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_group_1_framing(peer: Any, opcode: int, size: int) -> None:
    payload = b"*" * size
    checked(peer, peer[1](opcode, payload), [Frame(opcode, payload)], text=opcode == TEXT)


# 2 Pings and pongs


@pytest.mark.parametrize(("case", "payload"), [
    ("2.1", b""), ("2.2", b"Hello, world!"), ("2.3", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), ("2.4", b"\xfe" * 125),
])  # fmt: skip
def test_group_2_pings(peer: Any, case: str, payload: bytes) -> None:
    checked(peer, peer[1](PING, payload), [Frame(PONG, payload)])


def test_group_2_the_rest(peer: Any) -> None:
    _, frame = peer
    checked(peer, frame(PING, b"\xfe" * 126), [fails(1002)])  # 2.5
    checked(peer, frame(PONG), [])  # 2.7
    checked(peer, frame(PONG, b"unsolicited pong payload"), [])  # 2.8
    checked(peer, frame(PONG, b"unsolicited") + frame(PING, b"ping payload"), [Frame(PONG, b"ping payload")])  # 2.9
    bodies = [b"payload-%d" % index for index in range(10)]
    pings = b"".join(frame(PING, body) for body in bodies)
    checked(peer, pings, [Frame(PONG, body) for body in bodies])  # 2.10, 2.11


# 3 Reserved bits


@pytest.mark.parametrize(("case", "rsv"), [("3.1", 1), ("3.2", 2), ("3.3", 3), ("3.4", 4), ("3.5", 5), ("3.6", 6)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_group_3_reserved_bits(peer: Any, case: str, rsv: int, opcode: int) -> None:
    """What came in front is still answered: "strict" in the suite's words."""
    _, frame = peer
    bad = frame(opcode, b"" if opcode == CLOSE else b"x", rsv=rsv)
    checked(peer, bad, [fails(1002)])
    checked(peer, frame(TEXT, b"first") + bad + frame(PING), [Frame(TEXT, b"first"), fails(1002)], text=True)


# 4 Opcodes


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"reserved opcode payload"])
def test_group_4_reserved_opcodes(peer: Any, opcode: int, payload: bytes) -> None:
    _, frame = peer
    checked(peer, frame(opcode, payload), [fails(1002)])
    first = frame(TEXT, b"first")
    checked(peer, first + frame(opcode, payload) + frame(PING), [Frame(TEXT, b"first"), fails(1002)], text=True)


# 5 Fragmentation


def test_group_5_fragments(peer: Any) -> None:
    _, frame = peer
    start, end = frame(TEXT, b"fragment1", fin=False), frame(CONTINUATION, b"fragment2")
    more = frame(CONTINUATION, b"fragment1", fin=False)
    whole, ping, pong = Frame(TEXT, b"fragment1fragment2"), frame(PING, b"?"), Frame(PONG, b"?")
    cases: dict[str, tuple[bytes, list[Frame]]] = {
        "5.1": (frame(PING, b"fragment1", fin=False) + end, [fails(1002)]),
        "5.2": (frame(PONG, b"fragment1", fin=False) + end, [fails(1002)]),
        "5.3-5": (start + end, [whole]),
        "5.6-8": (start + ping + end, [pong, whole]),
        "5.9-11": (end + frame(TEXT, b"x"), [fails(1002)]),
        "5.12-14": (more + frame(TEXT, b"x"), [fails(1002)]),
        "5.15": (start + end + more + frame(TEXT, b"x"), [whole, fails(1002)]),
        "5.16": (more + frame(TEXT, b"x", fin=False) + end, [fails(1002)]),
        "5.17": (end + frame(TEXT, b"x", fin=False) + end, [fails(1002)]),
        "5.18": (start + frame(TEXT, b"fragment2"), [fails(1002)]),
        "5.19-20": (
            start + frame(CONTINUATION, b"2", fin=False) + ping + frame(CONTINUATION, b"3", fin=False)
            + frame(CONTINUATION, b"4", fin=False) + ping + frame(CONTINUATION, b"5"),
            [pong, pong, Frame(TEXT, b"fragment12345")],
        ),
    }  # fmt: skip
    for data, wanted in cases.values():
        checked(peer, data, wanted, text=True)


# 6 UTF-8: the table of Markus Kuhn's decoder stress test, by the numbers of the suite

GOOD: dict[str, list[str]] = {
    "6.2": ["48656c6c6f2dc2b540c39fc3b6c3a4c3bcc3a0c3a12d5554462d382121"],
    "6.5": ["ceba", "cebae1bdb9", "cebae1bdb9cf83", "cebae1bdb9cf83cebc", "cebae1bdb9cf83cebcceb5"],
    "6.7": ["00", "c280", "e0a080", "f0908080"],
    "6.9": ["7f", "dfbf", "efbfbf", "f48fbfbf"],
    "6.11": ["ed9fbf", "ee8080", "efbfbd", "f48fbfbf"],
    "6.22": [
        "efbfbe", "efbfbf", *[f"f{0}{second}bf{last}" for second in ("9f", "af", "bf") for last in ("be", "bf")],
        *[f"f{lead}{second}bf{last}" for lead in "123" for second in ("8f", "9f", "af", "bf") for last in ("be", "bf")],
        "f48fbfbe", "f48fbfbf", "efb790", "efb7af",
    ],
    "6.23": ["efbfb9", "efbfba", "efbfbb", "efbfbc", "efbfbd", "efbbbf", "e2808b"],
}  # fmt: skip
LONG = ["e0", "f0", "f8", "fc"]  # first bytes of 3 to 6, of which the last two are none
BAD: dict[str, list[str]] = {
    "6.3": ["cebae1bdb9cf83cebcceb5eda080656469746564"],
    "6.4": ["cebae1bdb9cf83cebcceb5f4908080656469746564"],
    "6.6": ["ce", "cebae1", "cebae1bd", "cebae1bdb9cf", "cebae1bdb9cf83ce", "cebae1bdb9cf83cebcce"],
    "6.8": ["f888808080", "fc8480808080"],
    "6.10": ["f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"],
    "6.11": ["f4908080"],
    "6.12": ["80", "bf", *["80bf" * count + tail for count in range(1, 4) for tail in ("", "80")],
             bytes(range(0x80, 0xC0)).hex()],
    "6.13": [bytes([byte for lead in range(*leads) for byte in (lead, 32)]).hex()
             for leads in ((0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE))],
    "6.14": ["c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"],
    "6.15": ["c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"],
    "6.16": ["fe", "ff", "fefeffff"],
    "6.17": ["c0af", *[lead + "80" * count + "af" for lead, count in zip(LONG, range(1, 5), strict=True)]],
    "6.18": ["c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"],
    "6.19": ["c080", *[lead + "80" * count + "80" for lead, count in zip(LONG, range(1, 5), strict=True)]],
    "6.20": ["eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"],
    "6.21": [high + low for high in ("eda080", "edadbf", "edae80", "edafbf") for low in ("edb080", "edbfbf")],
}  # fmt: skip


def ways(frame: Callable[..., bytes], payload: bytes) -> list[bytes]:
    """One frame, a byte in each, and two at every cut."""
    pieces = [frame(TEXT, b"", fin=False), *[frame(0, payload[at : at + 1], fin=False) for at in range(len(payload))]]
    cuts = [frame(TEXT, payload[:at], fin=False) + frame(0, payload[at:]) for at in range(min(len(payload), 16) + 1)]
    return [frame(TEXT, payload), b"".join(pieces) + frame(0, b""), *cuts]


@pytest.mark.parametrize("case", GOOD)
def test_group_6_text_that_is_utf8(peer: Any, case: str) -> None:
    for text in GOOD[case]:
        payload = bytes.fromhex(text)
        for data in ways(peer[1], payload):
            checked(peer, data, [Frame(TEXT, payload)], (1, 1 << 60), text=True)


@pytest.mark.parametrize("case", BAD)
def test_group_6_text_that_is_not(peer: Any, case: str) -> None:
    for text in BAD[case]:
        for data in ways(peer[1], bytes.fromhex(text)):
            checked(peer, data, [fails(1007)], (1, 1 << 60), text=True)


def test_group_6_1_text_of_nothing(peer: Any) -> None:
    _, frame = peer
    empty, more, last = frame(TEXT, b"", fin=False), frame(0, b"", fin=False), frame(0, b"")
    checked(peer, frame(TEXT), [Frame(TEXT, b"")], text=True)
    checked(peer, empty + more + last, [Frame(TEXT, b"")], text=True)
    checked(peer, empty + frame(0, b"middle frame payload", fin=False) + last, [Frame(TEXT, b"middle frame payload")],
            text=True)  # fmt: skip


@pytest.mark.parametrize("case", ["6.4.1", "6.4.2", "6.4.3", "6.4.4"])
def test_group_6_4_it_fails_fast(peer: Any, case: str) -> None:
    """Not at the end of the message, nor of the frame: at the byte that can't be."""
    make, frame = peer
    good, bad, behind = bytes.fromhex("cebae1bdb9cf83cebcceb5"), bytes.fromhex("f4908080"), b"edited"
    one = make(text=True)
    if case in ("6.4.1", "6.4.2"):  # a fragment each
        split = 4 if case == "6.4.1" else 2
        for payload in (good, bad[:split]):
            opcode = TEXT if payload is good else 0
            assert one.state == Phase.OPEN
            feed(one, frame(opcode, payload, fin=False))
        assert one.state == Phase.CLOSED
        return
    data = frame(TEXT, good + bad + behind)  # one frame, in pieces
    at = len(data) - len(behind) - (2 if case == "6.4.4" else 3)
    feed(one, data[: at - (case == "6.4.4")])
    assert one.state == Phase.OPEN
    feed(one, data[at - (case == "6.4.4") : at + 1])
    assert one.state == Phase.CLOSED
    assert said(one)[-1].payload[:2] == close_body(1007)


# 7 Closing


def test_group_7_1_what_comes_behind_a_close(peer: Any) -> None:
    _, frame = peer
    bye, text = frame(CLOSE, close_body(1000)), frame(TEXT, b"Hello World!")
    answer = fails(1000)
    checked(peer, bye, [answer], text=True)  # 7.1.1
    checked(peer, bye + bye, [answer], text=True)  # 7.1.2
    checked(peer, bye + frame(PING), [answer], text=True)  # 7.1.3
    checked(peer, bye + text, [answer], text=True)  # 7.1.4
    checked(peer, frame(TEXT, b"1", fin=False) + bye + frame(0, b"2"), [answer], text=True)  # 7.1.5
    checked(peer, bye + frame(3), [answer], text=True)


@pytest.mark.parametrize(("case", "body", "status"), [
    ("7.3.1", b"", None), ("7.3.2", b"a", 1002), ("7.3.3", close_body(1000), 1000),
    ("7.3.4", close_body(1000, b"Hello World!"), 1000), ("7.3.5", close_body(1000, b"*" * 123), 1000),
    ("7.3.6", close_body(1000, b"*" * 124), 1002),
    ("7.5.1", close_body(1000, bytes.fromhex("cebae1bdb9cf83cebcceb5eda080656469746564")), 1007),
    *[("7.7", close_body(status), status) for status in (
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)],
    *[("7.9", close_body(status), 1002) for status in (
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999)],
    ("7.13.1", close_body(5000), 1002), ("7.13.2", close_body(65_535), 1002),
])  # fmt: skip
def test_group_7_bodies_and_statuses(peer: Any, case: str, body: bytes, status: int | None) -> None:
    checked(peer, peer[1](CLOSE, body), [Frame(CLOSE, b"") if status is None else fails(status)])


@pytest.mark.parametrize("then", ["message", "half a message", "ping", "second close", "broken", "text that is not"])
def test_group_7_every_state_of_closing(peer: Any, then: str) -> None:
    """This side has said goodbye: what comes before the other's CLOSE changes nothing but what breaks a rule."""
    make, frame = peer
    data, broken = {
        "message": (frame(BINARY, b"x"), False),
        "half a message": (frame(BINARY, b"x", fin=False), False),
        "ping": (frame(PING, b"x"), False),
        "second close": (frame(CLOSE, close_body(1001)) * 2, False),
        "broken": (frame(3), True),
        "text that is not": (frame(TEXT, b"\xff"), True),
    }[then]
    for cut in (1, 1 << 60):
        one = make()
        one.close(0, "", 0)
        assert [each.opcode for each in said(one)] == [CLOSE]
        feed(one, data + frame(CLOSE, close_body(1000)), cut)
        assert messages(one) == []
        assert said(one) == []  # a CLOSE was the last that this side may say
        assert one.state == Phase.CLOSED
        assert one.events()[-1].clean is not broken


# 9 Limits, 10 automatic fragments


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [64 * limits.KIB, 256 * limits.KIB, limits.MIB, 4 * limits.MIB, 16 * limits.MIB])
def test_group_9_1_9_2_long_messages(opcode: int, size: int) -> None:
    one = server(max_message=16 * limits.MIB, text=opcode == TEXT)
    payload = b"BAsd7&jh23" * (size // 10 + 1)
    payload = payload[:size]
    feed(one, by_hand(opcode, payload, key=b"\0\0\0\0"), 128 * limits.KIB)
    (found,) = messages(one)
    assert found == payload


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304])
def test_group_9_3_9_4_long_messages_in_fragments(opcode: int, size: int) -> None:
    total = 4 * limits.MIB if size >= 4096 else 128 * limits.KIB
    one = client(max_message=16 * limits.MIB)
    wire = by_hand(opcode, b"", fin=False, key=None)
    wire += by_hand(0, b"x" * size, fin=False, key=None) * (total // size)
    feed(one, wire + by_hand(0, b"", key=None), 128 * limits.KIB)
    (found,) = messages(one)
    assert found == b"x" * total


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("step", [64, 128, 256, 512, 1024, 2048])
def test_group_9_5_9_6_long_messages_in_pieces(opcode: int, step: int) -> None:
    one = client()
    feed(one, by_hand(opcode, b"x" * limits.MIB, key=None), step)
    (found,) = messages(one)
    assert len(found) == limits.MIB


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096])
def test_group_9_7_9_8_a_thousand_messages(opcode: int, size: int) -> None:
    count = 1000 if size <= 1024 else 200
    one = client(text=opcode == TEXT)
    found = echoing(one, by_hand(opcode, b"x" * size, key=None) * count)
    assert found == [Frame(opcode, b"x" * size)] * count


def test_group_10_1_1_automatic_fragments(peer: Any) -> None:
    make, frame = peer
    one = make(fragment=1300, text=True)
    found = echoing(one, frame(TEXT, b"*" * 65_536))
    assert [len(each.payload) for each in found] == [1300] * 50 + [536]
    assert [each.opcode for each in found] == [TEXT] + [CONTINUATION] * 50


# 12, 13 Compression

OFFERS: dict[str, tuple[str, str]] = {  # the suite's offers, and what is answered
    "13.1": ("", ""),
    "13.2": ("; client_no_context_takeover", "; client_no_context_takeover"),
    "13.2.s": ("; server_no_context_takeover", "; server_no_context_takeover"),
    "13.3": ("; server_max_window_bits=9", "; server_max_window_bits=9"),
    "13.4": ("; server_max_window_bits=15", "; server_max_window_bits=15"),
    "13.5": (
        "; server_no_context_takeover; server_max_window_bits=9",
        "; server_no_context_takeover; server_max_window_bits=9",
    ),
    "13.6": (
        "; server_no_context_takeover; server_max_window_bits=15",
        "; server_no_context_takeover; server_max_window_bits=15",
    ),
    "13.7": (
        "; server_no_context_takeover; server_max_window_bits=9, permessage-deflate; server_no_context_takeover"
        ", permessage-deflate",
        "; server_no_context_takeover; server_max_window_bits=9",
    ),
    "13.c": ("; client_max_window_bits", ""),
    "13.c9": ("; client_max_window_bits=9", "; client_max_window_bits=9"),
}


@pytest.mark.parametrize("case", OFFERS)
@pytest.mark.parametrize("fragment", [0, 128])
def test_group_12_13_compression(case: str, fragment: int, rng: random.Random) -> None:
    """Both sides agree by header fields alone, and then exchange texts and bytes of every size of the suite."""
    asked, answered = OFFERS[case]
    settings = WebSocketConfig(compression=True, window_bits=15, compress_above=0)
    headers = [(b"sec-websocket-extensions", f"permessage-deflate{asked}".encode())]
    chosen = upgrade.choose_extension(headers, settings)
    assert chosen is not None
    agreement, answer = chosen
    assert answer == f"permessage-deflate{answered}"
    mirrored = deflate.agree(upgrade.extensions([(b"sec-websocket-extensions", answer.encode())]), settings)
    assert mirrored is not None
    assert (mirrored.peer_bits, mirrored.peer_takeover) == (agreement.own_bits, agreement.own_takeover)
    one = server(agreement, compress_above=0, fragment=fragment)
    two = client(mirrored, compress_above=0, fragment=fragment)
    words = [rng.randbytes(8).hex().encode() for _ in range(200)]
    for size in (0, 16, 64, 256, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072):
        for _ in range(3):
            payload = b" ".join(rng.choice(words) for _ in range(size // 17 + 1))[:size]
            for sender, reader in ((two, one), (one, two)):
                sender.send(payload, 0, 0, 0, 0, 0)
                feed(reader, written(sender), rng.choice((1 << 60, 1300)))
                assert messages(reader) == [payload]


@pytest.mark.parametrize("over", [-1, 0, 1])
@pytest.mark.parametrize("takeover", [True, False])
def test_a_decompressed_message_around_the_limit(over: int, takeover: bool) -> None:
    agreement = deflate.Agreement(15, takeover, 15, takeover)
    for size in (100, 4096, 70_000):
        one = server(agreement, max_message=size)
        data = Compressor(15, takeover).compress(bytes(size + over))
        for at in range(0, len(data) + 1, max(1, len(data) // 9)):  # cut anywhere
            feed(one, by_hand(BINARY, data[:at], rsv=4, fin=False) + by_hand(0, data[at:]))
            if over > 0:
                assert said(one)[-1].payload[:2] == close_body(1009)
                break
            assert messages(one) == [bytes(size + over)]
            turn(one)
            data = data if not takeover else Compressor(15, True).compress(bytes(size + over))


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("takeover", [True, False])
def test_every_window_is_read(bits: int, takeover: bool, rng: random.Random) -> None:
    """A peer's window of 2**bits bytes: what it sends again is half a window back."""
    one = client(deflate.Agreement(15, True, bits, takeover))
    squeeze = zlib.compressobj(wbits=-bits)
    text = rng.randbytes(1 << bits - 1)
    for _ in range(4):
        if not takeover:
            squeeze = zlib.compressobj(wbits=-bits)
        data = (squeeze.compress(text) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]
        feed(one, by_hand(BINARY, data, rsv=4, key=None))
        assert messages(one) == [text]
