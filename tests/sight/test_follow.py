"""Which connection a packet belongs to, with and without its handshake, and what may be said of it."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest

from tests.rudp.by_hand import ack
from tests.sight.talk import CLIENT, SERVER, UNSEEN, Talk, moving, rich
from transport.machine import Path
from transport.rudp import dissect, packet
from transport.sight import follow
from transport.sight.follow import TO_CLIENT, TO_SERVER, Follower, Found
from transport.sight.headers import UDP, Segment, shown_end


def segment(at: int, source: Any, target: Any, data: bytes, size: int | None = None) -> Segment:
    def end(address: Any) -> Any:
        return bytes(int(part) for part in address[0].split(".")), address[1]

    return Segment(at, UDP, end(source), end(target), len(data) if size is None else size)


def followed(packets: list[Any], follower: Follower | None = None) -> list[Found]:
    follower = Follower() if follower is None else follower
    found = []
    for at, source, target, data in packets:
        found += follower.take(segment(at, source, target, data), data)
    return found


@pytest.mark.parametrize("checksums", [2, 6, 7])
def test_a_whole_conversation(checksums: int) -> None:
    """Every packet, its number and its messages are those that the sessions speak of."""
    talk = rich(checksums=checksums)
    follower = Follower()
    found = followed(talk.packets, follower)
    assert [one.data for one in found] == [data for *_, data in talk.packets]
    assert not any(one.dissection.problem or one.notes for one in found)
    assert all(one.is_sure for one in found if one.dissection.kind == dissect.SHORT)
    (connection,) = follower.connections.values()
    kind = {2: "crc32", 6: "crc32c", 7: "none"}[checksums]
    assert connection.sum_kind is not None and dissect.SUMS[connection.sum_kind] == kind
    shorts = [one for one in found if one.dissection.kind == dissect.SHORT]
    wanted = dissect.ABSENT if kind == "none" else dissect.GOOD
    assert {one.dissection.checksum for one in shorts} == {wanted}
    for one, (_, source, _, _) in zip(found, talk.packets, strict=True):
        assert one.way == (TO_SERVER if source == CLIENT else TO_CLIENT)
    assert connection.codec == "msgpack"
    assert (connection.client[1], connection.server[1]) == (CLIENT[1], SERVER[1])
    counts = connection.to_server.counts
    assert counts["packets"] == len([1 for _, source, _, _ in talk.packets if source == CLIENT])
    names = {frame.name for one in shorts for frame in one.dissection.frames}
    assert names == set(dissect.FRAMES) - UNSEEN
    assert counts["message_frames"] > 40 and counts["copies"] > 5


def test_numbers_and_bodies_are_those_that_were_delivered() -> None:
    talk = rich()
    bodies = {}
    for one in followed(talk.packets):
        for frame in one.dissection.frames:
            if frame.name == "MSG" and frame.fields["channel"] < 256 and "offset" not in frame.fields:
                assert frame.body is not None
                lane = (frame.fields["channel"], frame.fields["delivery"], frame.fields["number"])
                body = one.data[frame.body[0] : frame.body[1]]
                assert bodies.setdefault(lane, body) == body
    small = {(channel, delivery, body) for channel, delivery, body in talk.got[talk.server] if len(body) < 100}
    assert small <= {(channel, delivery, body) for (channel, delivery, _), body in bodies.items()}


def test_without_the_handshake() -> None:
    """A checksum proves that it is ours; numbers are guessed until an ack tells them; nobody knows the codec."""
    talk = rich()
    follower = Follower()
    found = followed(talk.packets[8:], follower)
    assert all(one.dissection.checksum == dissect.GOOD for one in found)
    (connection,) = follower.connections.values()
    assert (connection.hello, connection.accept, connection.codec) == (None, None, "")
    assert connection.to_client.cid == talk.session.own_cid
    assert not any(one.knows_lanes for one in found)
    sure = [one.is_sure for one in found if one.way == TO_CLIENT]
    assert sure[0] is False and sure[-1] is True and sure == sorted(sure)
    numbers = [one.dissection.fields["number"] for one in found]
    assert numbers == [one.dissection.fields["number"] for one in followed(talk.packets)[8:]]


def by_hand(cid: int, number: int, frames: bytes) -> bytes:
    """A packet with two bytes of its number."""
    data = bytes([packet.FIXED_BIT | 1]) + cid.to_bytes(8, "big") + (number & 0xFFFF).to_bytes(2, "big") + frames
    return data + zlib.crc32(data, cid & 0xFFFFFFFF).to_bytes(4, "big")


def test_an_ack_tells_the_upper_part_of_a_number() -> None:
    """A connection with a long life behind it: numbers are above what two bytes say."""
    sent = [(CLIENT, SERVER, by_hand(1, number, b"\x01")) for number in (70_000, 70_001)]
    told = (SERVER, CLIENT, by_hand(2, 5, ack((69_000, 70_001))))
    after = (CLIENT, SERVER, by_hand(1, 70_002, b"\x01"))
    found = followed([(at, *one) for at, one in enumerate([*sent, told, after])])
    shown = [(one.dissection.fields["number"], one.is_sure) for one in found if one.way == TO_SERVER]
    assert shown == [(70_000 & 0xFFFF, False), (70_001 & 0xFFFF, False), (70_002, True)]
    assert found[0].connection is not None and found[0].connection.to_server.missing == 0


def test_what_is_none_of_ours() -> None:
    rng = random.Random(3)
    quic = bytes([0x40 | 3]) + rng.randbytes(60)
    other = bytes([0xC3]) + b"\x00\x00\x00\x01" + rng.randbytes(60)
    for data in (b"", b"hello", bytes(40), quic, other, quic[:12]):
        (found,) = followed([(1, CLIENT, SERVER, data)])
        assert (found.is_ours, found.dissection.problem, found.connection) == (False, follow.NOT_OURS, None)
    (trusted,) = followed([(1, CLIENT, SERVER, quic)], Follower(trusts=True))
    assert trusted.is_ours and trusted.notes == [follow.UNSURE]
    assert trusted.dissection.checksum == dissect.UNVERIFIED


def test_damage_is_told_and_moves_nothing() -> None:
    talk = rich()
    packets = list(talk.packets)
    at, source, target, data = packets[10]
    packets[10] = (at, source, target, data[:12] + bytes([data[12] ^ 1]) + data[13:])
    follower = Follower()
    found = followed(packets, follower)
    assert found[10].dissection.checksum == dissect.WRONG and found[10].dissection.problem == dissect.DAMAGED
    assert not any(one.dissection.problem for one in found[:10] + found[11:])
    (connection,) = follower.connections.values()
    assert connection.to_server.counts["damaged"] == 1
    whole = Follower()
    followed(talk.packets, whole)
    assert connection.to_server.missing == next(iter(whole.connections.values())).to_server.missing + 1
    hello = packets[0][3]
    (damaged,) = followed([(1, CLIENT, SERVER, hello[:-9] + b"\x01" + hello[-8:])])
    assert (damaged.dissection.kind, damaged.dissection.problem, damaged.connection) == ("HELLO", dissect.DAMAGED, None)


def test_what_comes_twice_is_noted() -> None:
    talk = rich()
    found = followed([*talk.packets[:9], talk.packets[8], *talk.packets[9:]])
    assert [index for index, one in enumerate(found) if follow.AGAIN in one.notes] == [9]


def test_a_capture_of_the_first_bytes() -> None:
    talk = rich()
    follower = Follower()
    found = []
    for at, source, target, data in talk.packets:
        found += follower.take(segment(at, source, target, data), data[:60])
    cut = [one for one, (*_, data) in zip(found, talk.packets, strict=True) if len(data) > 60]
    assert cut and all(follow.CUT in one.notes for one in cut)
    assert all(one.size == len(data) for one, (*_, data) in zip(found, talk.packets, strict=True))
    for one in cut:
        assert one.dissection.checksum == dissect.UNVERIFIED
    (connection,) = follower.connections.values()
    assert connection.to_server.counts["bytes"] == sum(
        len(data) for _, source, _, data in talk.packets if source == CLIENT
    )


def test_trains() -> None:
    """As the sending machine's own capture has them: several packets in one datagram."""
    talk = rich()
    large = [one for one in talk.packets if len(one[3]) == 1200 and one[3][0] & 0x80 == 0]
    at, source, target, _ = large[0]
    train = b"".join([data for *_, data in large[:4]])
    follower = Follower()
    followed(talk.packets[:3], follower)
    found = follower.take(segment(at, source, target, train), train)
    assert [(one.piece, one.of, one.data) for one in found] == [
        (index, 4, data) for index, (*_, data) in enumerate(large[:4], 1)
    ]
    assert not any(one.dissection.problem for one in found)
    (_, second) = follower.take(segment(at, source, target, train, 2400), train[:1800])
    assert (second.size, follow.CUT in second.notes) == (1200, True)


def test_a_reset_is_known_by_its_token() -> None:
    talk = Talk()
    talk.run(100)
    restarted = type(talk.server)(talk.server.config, talk.rng.randbytes, True, bytes(32))
    talk.server = restarted
    talk.got[restarted], talk.events[restarted] = [], []
    talk.session.send(b"x", 0, 0, 0, 0, talk.now)
    talk.run(100)
    found = followed(talk.packets)
    assert [one.dissection.kind for one in found][-1] == dissect.RESET
    assert found[-1].way == TO_CLIENT and found[-1].connection is not None
    before = followed(talk.packets[2:])[-1]  # without the ACCEPT nobody knows the token
    assert before.dissection.kind != dissect.RESET


def test_a_client_that_moves_is_followed() -> None:
    talk = moving(checksums=6)
    follower = Follower()
    found = followed(talk.packets, follower)
    assert not any(one.dissection.problem for one in found)
    (connection,) = follower.connections.values()
    moved = [one for one in found if follow.MOVED in one.notes]
    assert [one.way for one in moved] == [TO_SERVER, TO_SERVER]
    assert shown_end(connection.client) == "10.9.9.9:7"
    assert connection.further and len(connection.pairs) == 3
    used = {one.dissection.fields["cid"] for one in found if one.way == TO_SERVER and "cid" in one.dissection.fields}
    assert len(used) == 2, "the same connection under another id"
    names = {frame.name for one in found for frame in one.dissection.frames}
    assert {"PATH_CHALLENGE", "PATH_RESPONSE", "NEW_CID", "RETIRE_CID"} <= names
    follower._forget(connection)
    assert not follower._cids and not follower._pairs


def test_ids_and_addresses_of_one_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "FURTHER_MAX", 1)
    monkeypatch.setattr(follow, "PAIRS_MAX", 2)
    follower = Follower()
    followed(moving(checksums=6).packets, follower)
    for connection in follower.connections.values():
        assert len(connection.further) <= 1 and len(connection.pairs) <= 2


def test_retry_and_refuse_belong_to_their_hello() -> None:
    talk = Talk(server={"cookie": "always"})
    talk.run(100)
    found = followed(talk.packets)
    assert [one.dissection.kind for one in found][:4] == ["HELLO", "RETRY", "HELLO", "ACCEPT"]
    assert {one.connection.number for one in found if one.connection is not None} == {1}
    assert found[2].dissection.fields["cookie"] == found[1].dissection.fields["cookie"] != ""
    refused = Talk(server={"codec": "raw"}, client={"codec": "json"})
    refused.run(100)
    last = followed(refused.packets)[-1]
    assert (last.dissection.kind, last.dissection.fields["code"]) == ("REFUSE", 1104)


def test_two_connections_on_one_pair_of_addresses() -> None:
    talk = Talk()
    other = talk.client.connect(Path(None, SERVER), talk.now)
    talk.run(100)
    talk.session.send(b"one", 0, 0, 0, 0, talk.now)
    other.send(b"two", 0, 0, 0, 0, talk.now)
    talk.run(100)
    follower = Follower()
    found = followed(talk.packets, follower)
    assert not any(one.dissection.problem for one in found)
    assert len(follower.connections) == 2
    assert {one.to_server.cid for one in follower.connections.values()} == set(talk.server.sessions)


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "CONNECTIONS_MAX", 3)
    follower = Follower()
    for number in range(5):
        hello = packet.encode_hello(number + 1, b"", packet.Parameters())
        followed([(number, ("10.0.0.1", 1000 + number), SERVER, hello)], follower)
    followed([(9, ("10.0.0.1", 1002), SERVER, packet.encode_hello(3, b"", packet.Parameters()))], follower)
    assert list(follower.connections) == [4, 5, 3]
    assert follower.forgotten == 2
    assert set(follower._cids) == {3, 4, 5} and len(follower._pairs) == 3


def test_random_datagrams_never_crash(seed: int) -> None:
    rng = random.Random(seed)
    real = rich().packets
    for trusts in (False, True):
        follower = Follower(trusts=trusts)
        for _ in range(1500):
            at, source, target, data = rng.choice(real)
            changed = bytearray(data)
            for _ in range(rng.choice([0, 0, 1, 5])):
                changed[rng.randrange(len(changed))] = rng.getrandbits(8)
            whole = bytes(changed) if rng.random() < 0.8 else rng.randbytes(rng.randrange(100))
            size = len(whole) + rng.choice([0, 0, 1, 900])
            assert follower.take(segment(at, source, target, whole, size), whole)
        assert len(follower.connections) >= 1
