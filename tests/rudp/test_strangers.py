"""What strangers may do to a server of reliable UDP, and what may end a connection: handshake, RESET, CLOSE."""

from __future__ import annotations

import random
import zlib
from typing import Any

from tests.rudp.by_hand import (
    CRC32_ONLY,
    HONEST,
    KEY,
    MS,
    SERVER,
    Hand,
    Rig,
    ack,
    close_frame,
    goes_on,
    message,
)
from transport import limits
from transport.errors import CloseCode
from transport.machine import Path
from transport.rudp import packet
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint

COST = limits.MESSAGE_COST_BYTES
PING = bytes([packet.PING])


# Handshake


def test_a_flood_of_spoofed_hellos() -> None:
    """Half-open clients are bounded, addresses are proved soon, and nobody gets three times what it sent."""
    rig = Rig()
    parameters = packet.Parameters(codec="raw")
    for index in range(5000):
        address = (f"203.0.{index >> 8 & 255}.{index & 255}", 1024 + index % 50_000)
        hello = packet.encode_hello(index + 1, b"", parameters)
        answers = rig.receive(hello, address)
        assert sum([len(answer) for answer in answers]) <= 3 * len(hello)
    counts = rig.server.statistics()
    assert counts["half_open"] <= limits.RUDP_HALF_OPEN_COOKIE + 1
    assert counts["retries_sent"] > 4800
    assert len(rig.server.sessions) == 1
    rig.check_honest()
    Hand(rig)  # who can answer RETRY still gets in
    rig.wait(11_000)
    Hand(rig, port=8).hello()
    assert rig.server.statistics()["half_open"] <= 2


def test_half_open_clients_are_bounded_without_cookies() -> None:
    rig = Rig(cookie="never", half_open_max=10)
    for index in range(100):
        rig.receive(packet.encode_hello(index + 1, b"", packet.Parameters(codec="raw")), (f"203.0.113.{index}", 5))
    assert rig.server.statistics()["half_open"] == 10
    assert rig.server.statistics()["half_open_dropped"] == 90
    rig.check_honest()


def test_the_same_hello_again_and_again() -> None:
    """Each is answered by the same ACCEPT, within three times what came."""
    rig = Rig()
    hand = Hand(rig, opens=False)
    answers = [answer for _ in range(50) for answer in hand.hello()]
    assert len(set(answers)) == 1
    assert sum([len(answer) for answer in answers]) <= 3 * 1200 * 50
    assert rig.server.statistics()["half_open"] == 1
    hand.open()
    assert hand.hello() == []  # it is in
    goes_on(hand)


def test_answers_to_strangers_are_bounded() -> None:
    rig = Rig()
    hello = packet.encode_hello(7, b"", packet.Parameters(codec="raw"))
    for index in range(1000):
        rig.server.receive(hello, Path(None, (f"203.0.113.{index % 256}", index)), 0, rig.now)
    assert rig.server.statistics()["dropped_replies"] > 700
    rig.settle()
    rig.check_honest()


def test_a_cookie_of_another_address() -> None:
    rig = Rig(cookie="always")
    hand = Hand(rig, opens=False)
    retry = packet.decode_long(hand.hello()[0])
    assert retry is not None
    thief = Hand(rig, "203.0.113.99", opens=False)
    thief.cid = hand.cid
    answer = packet.decode_long(thief.hello(retry.cookie)[0])
    assert answer is not None
    assert answer.kind == packet.RETRY
    assert rig.server.statistics()["half_open"] == 0


def test_a_cookie_that_is_replayed() -> None:
    """Within its time it proves the same address again and no other; afterwards nothing."""
    rig = Rig(cookie="always")
    hand = Hand(rig, opens=False)
    retry = packet.decode_long(hand.hello()[0])
    assert retry is not None
    for _ in range(20):
        hand.hello(retry.cookie)
    assert rig.server.statistics()["half_open"] == 1
    rig.wait(limits.RUDP_COOKIE_NS / MS + 1000)
    late = packet.decode_long(hand.hello(retry.cookie)[-1])
    assert late is not None
    assert late.kind in (packet.RETRY, packet.ACCEPT)  # still half open, or asked anew
    rig.check_honest()


def test_a_forged_cookie() -> None:
    rig = Rig(cookie="always")
    hand = Hand(rig, opens=False)
    for cookie in (b"x", bytes(16), bytes(24), bytes(255)):
        answer = packet.decode_long(hand.hello(cookie)[0])
        assert answer is not None
        assert answer.kind == packet.RETRY


def test_an_unknown_version() -> None:
    import zlib

    rig = Rig()
    hand = Hand(rig, opens=False)
    data = bytearray(packet.encode_hello(hand.cid, b"", hand.announced))
    data[1:5] = (0x74720002).to_bytes(4, "big")
    data[-4:] = zlib.crc32(data[:-4]).to_bytes(4, "big")
    answer = packet.decode_long(rig.receive(bytes(data), hand.address)[0])
    assert answer is not None
    assert (answer.kind, answer.code, answer.versions) == (packet.REFUSE, 1002, (packet.VERSION,))
    rig.check_honest()


def test_a_server_of_another_version() -> None:
    client = RudpEndpoint(RudpConfig(), random.Random(1).randbytes)
    session = client.connect(Path(None, SERVER), 1)
    data = bytearray(packet.encode_refuse(session.own_cid, 1002, "version", (0x74720002,)))
    data[1:5] = (0x74720002).to_bytes(4, "big")
    data[-4:] = zlib.crc32(data[:-4]).to_bytes(4, "big")
    client.receive(bytes(data), Path(None, SERVER), 0, 2)
    assert [(event.code, event.reason) for event in session.events()] == [(1002, "version")]


def test_another_codec() -> None:
    rig = Rig()
    hand = Hand(rig, opens=False, codec="json")
    answer = packet.decode_long(hand.hello()[0])
    assert answer is not None
    assert (answer.kind, answer.code) == (packet.REFUSE, CloseCode.CODEC_MISMATCH)
    assert "'raw', not 'json'" in answer.reason


def test_malformed_parameters() -> None:
    rig = Rig()
    hand = Hand(rig, opens=False, max_datagram=1199)
    assert hand.hello() == []
    assert rig.server.statistics()["malformed"] == 1


def test_a_hello_that_is_too_short() -> None:
    import zlib

    rig = Rig()
    data = packet.encode_hello(5, b"", packet.Parameters())[:600]
    assert rig.receive(data + zlib.crc32(data).to_bytes(4, "big"), ("203.0.113.1", 1)) == []


def test_answers_that_nobody_asked_for(rig: Rig) -> None:
    """ACCEPT, RETRY and REFUSE to a server, and forged ones to a client that is connected."""
    hand = Hand(rig)
    for data in (
        packet.encode_accept(hand.peer_cid, 5, packet.Parameters()),
        packet.encode_retry(hand.peer_cid, b"cookie"),
        packet.encode_refuse(hand.peer_cid, 1013, "no"),
        packet.encode_refuse(12345, 1013, "no"),
    ):
        assert rig.receive(data, hand.address) == []
    for data in (
        packet.encode_accept(rig.honest.own_cid, 5, packet.Parameters()),
        packet.encode_retry(rig.honest.own_cid, b"cookie"),
        packet.encode_refuse(rig.honest.own_cid, 1013, "no"),
        packet.encode_hello(5, b"", packet.Parameters()),
    ):
        rig.client.receive(data, Path(None, ("192.0.2.1", 9)), 0, rig.now)
    assert rig.client.statistics()["strays"] == 4
    goes_on(hand)


def test_packets_before_the_answer(rig: Rig) -> None:
    """A client that opens acts on no frames: it knows neither the checksum nor what it may be sent."""
    client = rig.client.connect(Path(None, ("192.0.2.2", 9)), rig.now)
    head = bytes([packet.FIXED_BIT]) + client.own_cid.to_bytes(8, "big") + b"\0"
    for frames in (message(b"early"), close_frame(3, b"bye"), ack((0, 0)), PING, b"\xff\xff"):
        checksum = zlib.crc32(head + frames, client.own_cid & 0xFFFFFFFF).to_bytes(4, "big")
        for data in (head + frames, head + frames + checksum):
            rig.client.receive(data, Path(None, ("192.0.2.2", 9)), 0, rig.now)
    assert client.state == 0
    assert not client.take()
    assert not client.events()
    accept = packet.encode_accept(client.own_cid, 77, packet.Parameters(codec="raw"))
    rig.client.receive(accept, Path(None, ("192.0.2.2", 9)), 0, rig.now)
    assert client.state == 1


def test_a_client_whose_first_packet_is_noise() -> None:
    """A half-open client gets a session by a valid packet only."""
    rig = Rig()
    hand = Hand(rig, opens=False)
    answer = packet.decode_long(hand.hello()[-1])
    assert answer is not None
    hand.peer_cid = answer.scid
    rig.receive(hand.packet(PING)[:-1] + b"?", hand.address)
    assert hand.peer_cid not in rig.server.sessions
    hand.say(PING)
    assert hand.peer_cid in rig.server.sessions
    rig.check_honest()


def test_more_handshakes_than_there_is_room_for() -> None:
    """Who said HELLO in time and comes in when the last place is taken is told so, with a goodbye; nobody else is."""
    rig = Rig(sessions_max=3)
    hands = [Hand(rig, port=10 + index, opens=False) for index in range(5)]
    for hand in hands:
        answer = packet.decode_long(hand.hello()[-1])
        assert answer is not None
        assert answer.kind == packet.ACCEPT
        hand.peer_cid = answer.scid
    for hand in hands:
        hand.say(message(b"in"))
    assert [hand.got for hand in hands] == [[b"in"]] * 2 + [[]] * 3
    assert [hand.told() for hand in hands] == [None] * 2 + [(CloseCode.OVERLOADED, "too many connections")] * 3
    counts = rig.server.statistics()
    assert (counts["peers"], counts["half_open"], counts["refused_hellos"]) == (3, 0, 3)
    hands[0].say(close_frame(0))
    late = Hand(rig, port=30)  # there is room again
    goes_on(late)
    rig.wait(5000)
    assert len(rig.server.sessions) == 3
    rig.check_honest()


# RESET


def test_packets_for_unknown_connections(rig: Rig) -> None:
    """At most ten answers a second, each shorter than what it answers."""
    hand = Hand(rig)
    answers = []
    for size in range(100):
        answers += [
            (size, answer)
            for answer in rig.receive(hand.packet(bytes(size), cid=rig.rng.getrandbits(64)), hand.address)
        ]
    assert len(answers) == limits.RUDP_RESETS_PER_S
    assert all(len(answer) < size + 17 for size, answer in answers)
    counts = rig.server.statistics()
    assert counts["resets_sent"] == limits.RUDP_RESETS_PER_S
    assert counts["strays"] == 100
    rig.wait(1001)
    assert len(rig.receive(hand.packet(bytes(100), cid=5), hand.address)) == 1
    goes_on(hand)


def test_a_reset_is_answered_by_none(rig: Rig) -> None:
    """Two servers that know nothing of each other have nothing to say."""
    hand = Hand(rig)
    for size in range(20, 200):
        rig.wait(1001)  # so that it is not the rate that is bounded
        for reset in rig.receive(hand.packet(bytes(size), cid=5), ("203.0.113.1", 1)):
            assert rig.receive(reset, ("203.0.113.2", 1)) == []
    assert rig.server.statistics()["resets_sent"] > 100


def test_a_forged_reset(rig: Rig) -> None:
    """Without the token it is noise."""
    for token in (bytes(16), packet.reset_token(bytes(32), rig.honest.peer_cid), packet.reset_token(KEY, 5)):
        forged = packet.encode_reset(token, rig.rng.randbytes, 100)
        rig.client.receive(forged, Path(None, ("192.0.2.1", 9)), 0, rig.now)
        rig.client.receive(
            bytes([0x40]) + rig.honest.own_cid.to_bytes(8, "big") + forged, Path(None, HONEST), 0, rig.now
        )
    assert rig.honest.state == 1


def test_a_true_reset() -> None:
    rig = Rig()
    true = packet.encode_reset(packet.reset_token(KEY, rig.honest.peer_cid), rig.rng.randbytes, 100)
    rig.client.receive(true, Path(None, ("192.0.2.1", 9)), 0, rig.now)
    rig.settle()
    assert rig.honest.state == 3
    closed: Any = rig.events[rig.honest.own_cid][-1]
    assert (closed.code, closed.by_peer, closed.clean) == (CloseCode.LOST, True, False)


def test_a_reset_that_is_too_short() -> None:
    """Random bytes are a part of it; so an ordinary packet is told from it by more than the token."""
    rig = Rig()
    token = packet.reset_token(KEY, rig.honest.peer_cid)
    for data in (b"\x41" + bytes(19) + token, b"\x01" + bytes(20) + token):
        rig.client.receive(data, Path(None, ("192.0.2.1", 9)), 0, rig.now)
        cid = rig.honest.own_cid.to_bytes(8, "big")
        rig.client.receive(data[:1] + cid + data[9:], Path(None, ("192.0.2.1", 9)), 0, rig.now)
    rig.check_honest()


# CLOSE


def test_a_packet_that_comes_twice_after_the_end(rig: Rig) -> None:
    """The goodbye is for a peer that says something new, not for a network that doubles, nor for a replay."""
    hand = Hand(rig)
    hand.say(close_frame(0))
    late = hand.packet(PING)
    assert [len(rig.receive(late, hand.address)) for _ in range(3)] == [1, 0, 0]
    assert len(hand.say(PING)) == 1


def test_a_storm_of_closes(rig: Rig) -> None:
    """The answer is repeated a bounded number of times."""
    hand = Hand(rig)
    for _ in range(200):
        hand.say(close_frame(5, b"storm"))
    answers = [data for data in rig.sent[hand.address] if data[13:14] == b"\x0e" or b"storm" in data]
    assert 1 <= len(answers) <= limits.RUDP_CLOSE_TRIES + 1
    closed = hand.closed()
    assert closed is not None
    assert (closed.code, closed.reason, closed.by_peer) == (5, "storm", True)


def test_a_closed_connection_is_forgotten(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(close_frame(0))
    assert hand.peer_cid in rig.server.sessions
    rig.wait(3000)
    assert hand.peer_cid not in rig.server.sessions
    assert len(rig.server._clients) == 1


def test_a_closed_connection_is_forgotten_however_far_the_peer_is(rig: Rig) -> None:
    """Three probe time-outs may be minutes; after so long no peer asks any more."""
    hand = Hand(rig)
    for _ in range(3):
        hand.session.rtt.update(limits.RUDP_RTT_MAX_NS, 0)
    hand.say(close_frame(0))
    rig.wait(limits.RUDP_LINGER_MAX_NS / MS - 1)
    assert len(hand.say(PING)) == 1  # the goodbye again
    rig.wait(2)
    assert hand.peer_cid not in rig.server.sessions


def test_closed_connections_are_bounded() -> None:
    rig = Rig()
    for index in range(limits.RUDP_CLOSED_MAX + 50):
        hand = Hand(rig, port=1000 + index)
        hand.say(close_frame(0))
    assert len(rig.server.sessions) <= limits.RUDP_CLOSED_MAX + 1
    rig.check_honest()


def test_a_close_with_data_behind_it(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(message(b"before"), close_frame(3, b"bye"), message(b"after", 1), bytes([0x7F]))
    assert hand.got == [b"before"] or hand.got == []
    closed = hand.closed()
    assert closed is not None
    assert closed.code == 3


def test_a_peer_that_does_not_answer_the_goodbye(rig: Rig) -> None:
    hand = Hand(rig)
    hand.session.close(7, "bye", rig.now)
    rig.settle()
    before = len(rig.sent[hand.address])
    for _ in range(50):
        rig.wait(500)
    closed = hand.closed()
    assert closed is not None
    assert (closed.code, closed.clean) == (7, False)
    assert len(rig.sent[hand.address]) - before <= limits.RUDP_CLOSE_TRIES


def test_configuration_of_the_rig() -> None:
    """What is agreed on here is CRC-32, so that packets can be made by the standard library."""
    assert RudpConfig(**CRC32_ONLY).checksums == 2  # type: ignore[arg-type]


def test_a_client_whose_first_packet_ends_it() -> None:
    """It never gets an owner, and is forgotten all the same."""
    rig = Rig()
    for frames in (bytes([0x7F]), close_frame(5)):
        hand = Hand(rig, opens=False)
        answer = packet.decode_long(hand.hello()[-1])
        assert answer is not None
        hand.peer_cid = answer.scid
        hand.say(frames)
        told = hand.told()
        assert told is not None
        rig.wait(5000)
        assert hand.peer_cid not in rig.server.sessions
    rig.check_honest()


def test_a_client_that_goes_before_it_was_taken() -> None:
    rig = Rig()
    hand = Hand(rig, opens=False)
    answer = packet.decode_long(hand.hello()[-1])
    assert answer is not None
    hand.peer_cid = answer.scid
    rig.server.receive_many([hand.packet(PING), hand.packet(close_frame(5))], Path(None, hand.address), 0, rig.now)
    rig.settle()
    assert hand.told() == (5, "")
    rig.wait(5000)
    assert hand.peer_cid not in rig.server.sessions


def test_a_client_says_its_last_word_twice() -> None:
    """Its socket is gone right after, so that nobody could repeat it."""
    rig = Rig()
    rig.of_honest().close(5, "bye", rig.now)
    lost: list[bytes] = []
    real = rig.server.receive

    def losing(data: bytes, path: Path, ecn: int, now: int) -> None:
        if not lost:
            lost.append(data)
        else:
            real(data, path, ecn, now)

    server_cid = rig.honest.peer_cid
    rig._pump(rig.server)
    rig.server = Stub(rig.server, losing)  # type: ignore[assignment]
    rig.settle()
    assert lost
    closed: Any = rig.events[server_cid][-1]
    assert (closed.code, closed.reason, closed.by_peer) == (5, "bye", False)


class Stub:
    """An endpoint with another `receive`."""

    def __init__(self, endpoint: Any, receive: Any) -> None:
        self._endpoint = endpoint
        self.receive = receive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._endpoint, name)
