"""Frames: what is encoded is parsed, and nothing else is."""

from __future__ import annotations

import random

import pytest

from transport import CloseCode, limits
from transport.events import envelope, parse
from transport.events.envelope import Claim, Gap, Hello, Joined, Policy, Welcome, Why
from transport.events.errors import Malformed

CLAIM = Claim("room:7", 2**64 - 1, 12, 3, True, b"t" * 16)
BODY = envelope.payload("said", {"text": "hi"})
FROM_CLIENT = {
    "hello": (
        envelope.hello(Hello("/chat", "token", "ab", b"s" * 24, 3, 7, [CLAIM])),
        Hello("/chat", "token", "ab", b"s" * 24, 3, 7, [CLAIM]),
    ),
    "hello, with a limit": (
        envelope.hello(Hello("/chat", "token", "ab", b"s" * 24, 3, 7, [CLAIM], 65_536)),
        Hello("/chat", "token", "ab", b"s" * 24, 3, 7, [CLAIM], 65_536),
    ),
    "join": (envelope.join(5, "room:7", "cursor", CLAIM), envelope.Join(5, "room:7", "cursor", CLAIM)),
    "join now": (envelope.join(5, "room:7", "now"), envelope.Join(5, "room:7", "now", None)),
    "leave": (envelope.leave(6, "room:7"), envelope.Leave(6, "room:7")),
    "message": (envelope.message(9, 8, True, BODY), envelope.Message(9, 8, True, "said", {"text": "hi"})),
    "answer": (envelope.answer(70, False, [1]), envelope.Answer(70, False, [1])),
    "pause": (envelope.pause(4), envelope.Pause(4)),
    "continue": (envelope.go_on(4, 100), envelope.Continue(4, 100)),
}
FROM_SERVER = {
    "welcome": (
        envelope.welcome(Welcome("ab", b"s" * 24, 3, True, 7, [9], 9, 256)),
        Welcome("ab", b"s" * 24, 3, True, 7, [9], 9, 256),
    ),
    "welcome, with a limit": (
        envelope.welcome(Welcome("ab", b"s" * 24, 3, True, 7, [9], 9, 256, 65_536)),
        Welcome("ab", b"s" * 24, 3, True, 7, [9], 9, 256, 65_536),
    ),
    "refused": (envelope.refused("denied", "no", 20, 4), envelope.Refused("denied", "no", 20, 4)),
    "joined": (
        envelope.joined(Joined(5, 2, True, "room:7", 99, 20, 12, 3, True, b"t")),
        Joined(5, 2, True, "room:7", 99, 20, 12, 3, True, b"t"),
    ),
    "left": (envelope.left(5, "room:7", "denied: no"), envelope.Left(5, "room:7", "denied: no")),
    "event": (
        envelope.event(2, 13, 1, BODY),
        envelope.Event(2, 13, 1, False, "said", {"text": "hi"}, len(BODY)),
    ),
    "replayed": (
        envelope.event(2, 13, 2, BODY, replay=True),
        envelope.Event(2, 13, 2, True, "said", {"text": "hi"}, len(BODY)),
    ),
    "volatile": (envelope.volatile(0, BODY), envelope.Volatile(0, "said", {"text": "hi"})),
    "advance": (envelope.advance(2, 15, 2), envelope.Advance(2, 15, 2)),
    "caught up": (envelope.caught_up(2, 15, 0), envelope.CaughtUp(2, 15, 0)),
    "gap": (
        envelope.gap(Gap(2, Why.TRIMMED, Policy.OLDEST, 15, "room:7", 16, 20, -1, None)),
        Gap(2, Why.TRIMMED, Policy.OLDEST, 15, "room:7", 16, 20, -1, None),
    ),
    "reply": (envelope.reply(9, envelope.result(True, 5)), envelope.Reply(9, True, 5)),
    "failure": (
        envelope.reply(9, envelope.failure("full", "no seat")),
        envelope.Reply(9, False, {"code": "full", "text": "no seat"}),
    ),
    "ack": (envelope.ack(300), envelope.Ack(300)),
    "call": (envelope.call(70, 0, BODY), envelope.Call(70, 0, "said", {"text": "hi"})),
    "goaway": (envelope.goaway(500, 2000), envelope.Goaway(500, 2000)),
}


@pytest.mark.parametrize("name", FROM_CLIENT)
def test_a_client_s_frame(name: str) -> None:
    frame, record = FROM_CLIENT[name]
    assert parse.parse(frame, parse.FROM_CLIENT) == record
    with pytest.raises(Malformed):
        parse.parse(frame, parse.FROM_SERVER)


@pytest.mark.parametrize("name", FROM_SERVER)
def test_a_server_s_frame(name: str) -> None:
    frame, record = FROM_SERVER[name]
    assert parse.parse(frame, parse.FROM_SERVER) == record
    with pytest.raises(Malformed):
        parse.parse(frame, parse.FROM_CLIENT)


def test_every_kind_is_tried() -> None:
    tried = {frame[0] for frame, _ in [*FROM_CLIENT.values(), *FROM_SERVER.values()]}
    assert tried == set(envelope.Kind)


@pytest.mark.parametrize("table", [parse.FROM_CLIENT, parse.FROM_SERVER], ids=["client", "server"])
def test_nothing_but_malformed_is_raised(table: parse.Table, rng: random.Random) -> None:
    """Cut, altered and random frames are parsed or refused, never anything else."""
    frames = [frame for frame, _ in [*FROM_CLIENT.values(), *FROM_SERVER.values()]]
    codes: set[int] = set()
    for _ in range(5000):
        frame = bytearray(rng.choice(frames))
        for _ in range(rng.randrange(3)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        frame = (
            frame[: rng.randrange(len(frame) + 1)] if rng.random() < 0.5 else frame + rng.randbytes(rng.randrange(3))
        )
        try:
            parse.parse(bytes(frame), table)
        except Malformed as error:
            codes.add(error.code)
    assert codes <= {CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_BODY, CloseCode.POLICY}


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (b"", "empty"),
        (b"\x99", "unknown kind"),
        (b"\x04\x01", "header"),
        (envelope.message(3, 5, False, BODY), "floor"),
        (envelope.message(3, 1, False, envelope.payload("x" * 256, None)), "256|255"),
        (envelope.message(3, 1, False, envelope.payload("", None)), "name"),
        (envelope.message(3, 1, False, envelope.payload("a\nb", None)), "printed"),
        (envelope.pause(1) + b"x", "behind"),
        (envelope.join(1, "r", "yesterday"), "since"),
        (envelope.hello(Hello("/", None, "", b"", 0, 0, [CLAIM] * (limits.EVENTS_ROOMS_MAX + 2))), "rooms"),
        (b"\x01" + envelope.encode_body({"v": [9]}), "lacks"),
        (envelope.hello(Hello("/", None, "", b"", 0, 0, [], -1)), "largest"),
        (envelope.hello(Hello("/", None, "", b"", 0, 0, [], "many")), "largest"),  # type: ignore[arg-type]
    ],
)
def test_refused(frame: bytes, text: str) -> None:
    with pytest.raises(Malformed, match=text):
        parse.parse(frame, parse.FROM_CLIENT)


def test_another_version_is_refused() -> None:
    body = {"v": [2], "namespace": "/", "auth": None, "session": "", "secret": b"", "generation": 0, "floor": 0,
            "streams": []}  # fmt: skip
    with pytest.raises(Malformed, match="version 1"):
        parse.parse(b"\x01" + envelope.encode_body(body), parse.FROM_CLIENT)
