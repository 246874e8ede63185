"""A peer that shows up at another address: who is followed, when, and what it costs. In virtual time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.rudp.by_hand import MS, Hand, Rig, ends, goes_on, message, varints
from tests.rudp.moving import CLIENT, CONFIG, SECOND, SERVER, Moving
from transport import limits
from transport.machine import Path
from transport.rudp import packet
from transport.rudp.kinds import PATH_CHALLENGE, PATH_RESPONSE
from transport.rudp.paths import BARE_BYTES, FULL_BYTES, is_same_host
from transport.sim.config import LinkConfig
from transport.sim.seeds import stream

PING = bytes([packet.PING])
ELSEWHERE = ("198.51.100.77", 9)


def frames_of(data: bytes) -> bytes:
    """What a datagram with a checksum holds."""
    return data[10 + (data[0] & 3) : -4]


def challenges(datagrams: list[bytes]) -> list[bytes]:
    """The tokens of those that are challenges."""
    found = [frames_of(data) for data in datagrams]
    return [frames[1:9] for frames in found if frames[:1] == bytes([PATH_CHALLENGE])]


def respond(token: bytes) -> bytes:
    return bytes([PATH_RESPONSE]) + token


@pytest.mark.parametrize(("one", "other", "same"), [
    (("10.0.0.1", 1), ("10.0.0.1", 2), True),
    (("10.0.0.1", 1), ("10.0.0.2", 1), False),
    (("fe80::1", 1, 0, 2), ("fe80::1", 7, 0, 2), True),
    (("fe80::1", 1, 0, 2), ("fe80::1", 1, 0, 3), False),
    (("10.0.0.1", 1), ("10.0.0.1", 1, 0, 0), False),
    ("a", "a", True),
    ("a", "b", False),
    (None, ("10.0.0.1", 1), False),
])  # fmt: skip
def test_hosts(one: Any, other: Any, same: bool) -> None:
    assert is_same_host(one, other) is same


# Another port of the same host


def test_another_port_is_followed_at_once() -> None:
    """The next packet of the client is enough; what was found out about the path stays."""
    duo = Moving()
    for index in range(50):
        duo.says(bytes([index]) * 1000)
    window, smoothed, mtu = duo.far.controller.window, duo.far.rtt.smoothed, duo.far.mtu
    duo.network.rebind(duo.port, ("c", 2))
    duo.network.sent.clear()
    assert duo.says(b"moved")
    assert duo.far.path.remote == ("c", 2)
    assert duo.far.path_changes == 1
    assert (duo.far.controller.window, duo.far.mtu) == (window, mtu)
    assert abs(duo.far.rtt.smoothed - smoothed) < MS
    assert not challenges(duo.to(("c", 2)))
    assert not duo.to(CLIENT)


def test_a_transfer_both_ways_while_the_port_changes() -> None:
    duo = Moving(LinkConfig(delay_ns=5 * MS, rate_bits_per_s=50_000_000, queue_bytes=64 * 1024))
    duo.every(100, 40, lambda index: duo.network.rebind(duo.port, ("c", index + 2)))
    bodies = [stream(index, "body").randbytes(index * 977 % 30_000) for index in range(400)]
    for body in bodies:
        duo.say(body)
        duo.far.send(body, 0, 0, 0, 0, duo.now)
    duo.world.run_until(lambda: len(duo.got["far"]) == len(duo.got["near"]) == len(bodies), 30)
    assert duo.got["far"] == duo.got["near"] == bodies


def test_who_is_heard_again_gets_at_once_what_it_has_not_answered() -> None:
    """The server has probed for long, less and less often, and the client comes back from another port."""
    duo = Moving()
    duo.says(b"x")
    duo.world.run_for(0.1)
    duo.network.rebind(duo.port, ("c", 2))
    duo.far.send(b"where are you?", 0, 0, 0, 0, duo.now)
    duo.world.run_for(8)
    assert len(duo.got["near"]) == 1
    duo.near.ping(1, duo.now)
    began = duo.now
    duo.world.run_until(lambda: len(duo.got["near"]) == 2, 10)
    assert duo.now - began == 20 * MS


def test_a_client_in_the_midst_of_receiving_asks_why_nothing_comes() -> None:
    """Its old port is gone, and it has nothing to say by which the server would find the new one."""
    duo = Moving(LinkConfig(delay_ns=10 * MS, rate_bits_per_s=10_000_000, queue_bytes=64 * 1024))
    body = bytes(400_000)
    duo.far.send(body, 0, 0, 0, 0, duo.now)
    duo.world.run_for(0.1)
    duo.network.rebind(duo.port, ("c", 2))
    duo.world.run_until(lambda: bool(duo.got["near"]), 1.5)
    assert duo.got["near"] == [body]


def test_a_client_asks_once_a_second_at_most() -> None:
    """What comes is full packets far apart, as from a server that sends at a low rate."""
    duo = Moving(config=replace(CONFIG, mtu=1400))
    duo.world.run_for(1)
    duo.network.sent.clear()
    for _ in range(100):
        duo.far.send(bytes(1250), 0, 3, 0, 0, duo.now)
        duo.world.run_for(0.1)
    assert 9 <= len(duo.asked()) <= 11


def test_a_client_that_gets_small_packets_asks_nothing() -> None:
    duo = Moving()
    duo.world.run_for(1)
    duo.network.sent.clear()
    for _ in range(20):
        duo.far.send(bytes(1000), 0, 3, 0, 0, duo.now)
        duo.world.run_for(0.3)
    assert len(duo.asked()) == 0


def test_the_first_packet_may_come_from_another_port() -> None:
    """A client that was moved between HELLO and its first ordinary packet."""
    rig = Rig()
    hand = Hand(rig, opens=False)
    accept = packet.decode_long(hand.hello()[0])
    assert accept is not None
    hand.peer_cid = accept.scid
    hand.address = (hand.address[0], 4321)
    assert hand.say(PING)
    assert hand.session.path.remote == hand.address
    goes_on(hand)


def test_only_the_newest_packet_moves_a_connection() -> None:
    rig = Rig()
    hand = Hand(rig)
    late = hand.packet(PING)
    first = hand.address
    hand.address = (first[0], 6)
    hand.say(PING)
    assert hand.session.path.remote == hand.address
    rig.receive(late, first)  # it was overtaken
    assert hand.session.path.remote == hand.address
    assert hand.session.path_changes == 1


@pytest.mark.parametrize("host", ["203.0.113.7", "203.0.113.8"], ids=["port", "host"])
def test_what_is_no_valid_new_packet_moves_nothing(host: str) -> None:
    rig = Rig()
    hand = Hand(rig)
    thief = (host, 6)
    copied = hand.packet(PING)
    rig.receive(copied, hand.address)
    damaged = bytearray(hand.packet(PING))
    damaged[-1] ^= 1
    for data in (copied, bytes(damaged), hand.packet(b"\x0d"), hand.packet(PING, cid=hand.peer_cid ^ 1)):
        rig.receive(data, thief)
        assert hand.rig.server.sessions[hand.peer_cid].path.remote == hand.address
    assert not challenges(rig.sent.get(thief, []))


def test_a_goodbye_is_answered_at_the_new_port() -> None:
    duo = Moving()
    duo.network.rebind(duo.port, ("c", 2))
    duo.near.close(7, "bye", duo.now)
    duo.world.run_until(lambda: len(duo.closed) == 2, 10)
    assert duo.closed["near"].code == duo.closed["far"].code == 7
    assert len([data for data in duo.to(("c", 2)) if frames_of(data)[:1] == bytes([packet.CLOSE])]) == 1


def test_a_goodbye_is_repeated_at_the_new_port() -> None:
    rig = Rig()
    hand = Hand(rig)
    hand.session.abort(3, "over", rig.now)
    rig.settle()
    hand.address = (hand.address[0], 77)
    assert [frames_of(data)[:1] for data in hand.say(PING)] == [bytes([packet.CLOSE])]
    hand.address = ("203.0.113.99", 77)
    assert [frames_of(data)[:1] for data in hand.say(PING)] == [bytes([packet.CLOSE])]
    assert hand.session.path.remote == ("203.0.113.7", 77)


def test_a_long_goodbye_is_not_said_to_another_host() -> None:
    rig = Rig()
    hand = Hand(rig)
    hand.session.abort(3, "because " * 20, rig.now)
    rig.settle()
    hand.address = ELSEWHERE
    assert hand.say(PING) == []
    assert hand.say(bytes(100) + PING)


# Another host


def test_another_host_is_asked_first() -> None:
    """It gets a challenge and nothing else until it has answered; then it gets everything, and all begins anew."""
    rig = Rig()
    hand = Hand(rig)
    first = hand.address
    rig.wait(10)
    hand.address = ELSEWHERE
    hand.session.send(b"to whom?", 0, 0, 0, 0, rig.now)
    before = len(rig.sent[first])
    [challenge] = hand.say(PING)
    assert len(challenge) == BARE_BYTES
    [token] = challenges([challenge])
    assert len(rig.sent[first]) > before
    assert hand.session.path.remote == first
    controller = hand.session.controller
    rig.now += 30 * MS
    answers = hand.say(respond(token))
    assert hand.session.path.remote == ELSEWHERE
    assert hand.session.path_changes == 1
    assert any(b"to whom?" in data for data in answers)  # what was in flight goes again
    assert hand.session.controller is not controller
    assert hand.session.rtt.latest == 30 * MS
    assert hand.session.mtu == limits.RUDP_DATAGRAM_BYTES_MIN
    [confirmation] = [data for data in answers if challenges([data])]
    assert len(confirmation) == FULL_BYTES
    hand.say(respond(challenges([confirmation])[0]))
    rig.wait(5000)
    assert len(challenges(rig.sent[ELSEWHERE])) == 2
    goes_on(hand)


def test_a_client_that_has_moved_goes_on() -> None:
    duo = Moving()
    for index in range(20):
        duo.says(bytes([index]) * 900)
    duo.network.rebind(duo.port, ("d", 1))
    duo.network.sent.clear()
    assert duo.says(b"here I am")
    assert duo.far.path.remote == ("d", 1)
    assert [len(data) for data in duo.to(("d", 1)) if challenges([data])] == [BARE_BYTES, FULL_BYTES]
    assert 19 * MS < duo.far.rtt.smoothed < 30 * MS
    duo.world.run_for(5)
    assert len(challenges(duo.to(("d", 1)))) == 2
    assert duo.far.due() > duo.now + SECOND


def test_transfers_go_on_after_the_host_has_changed() -> None:
    duo = Moving(LinkConfig(delay_ns=10 * MS, loss=0.02, rate_bits_per_s=8_000_000, queue_bytes=32 * 1024),
                 replace(CONFIG, mtu=4000))  # fmt: skip
    bodies = [stream(index, "body").randbytes(index * 977 % 30_000) for index in range(100)]
    duo.every(200, 8, lambda index: duo.network.rebind(duo.port, (f"h{index}", 1)))
    for body in bodies:
        duo.say(body)
        duo.far.send(body, 0, 0, 0, 0, duo.now)
    duo.world.run_until(lambda: len(duo.got["far"]) == len(duo.got["near"]) == len(bodies), 60)
    assert duo.got["far"] == duo.got["near"] == bodies
    assert duo.says(b"the end")
    duo.world.run_for(5)
    assert duo.far.path.remote == duo.port.public
    assert duo.far.path_changes >= 5
    assert duo.far.in_flight == duo.far.copied == 0


def test_nobody_gets_three_times_what_it_sent_before_it_has_answered() -> None:
    rig = Rig()
    hand = Hand(rig)
    hand.address = ELSEWHERE
    came = 0
    for index in range(40):
        data = hand.packet(PING if index % 2 else message(bytes(1100), index // 2, 3, 1))
        came += len(data)
        rig.receive(data, ELSEWHERE)
        rig.wait(100)
        assert sum(map(len, rig.sent[ELSEWHERE])) <= 3 * came
    assert {len(data) for data in rig.sent[ELSEWHERE]} == {BARE_BYTES, FULL_BYTES}
    assert hand.session.path.remote == ("203.0.113.7", 5)


def test_answers_to_an_address_count_with_what_it_may_be_sent() -> None:
    """Somebody who knows a connection id lets another be flooded: as many bytes as he sends himself, three times."""
    rig = Rig()
    hand = Hand(rig)
    rig.receive(hand.packet(PING), ELSEWHERE)
    came = 18
    for index in range(50):
        data = hand.packet(bytes([PATH_CHALLENGE]) + index.to_bytes(8, "big") + bytes(index * 20))
        came += len(data)
        rig.receive(data, ELSEWHERE)
        rig.wait(70)
        assert sum(map(len, rig.sent[ELSEWHERE])) <= 3 * came
    assert len(rig.sent[ELSEWHERE]) > 50
    assert hand.session.path.remote != ELSEWHERE


def test_a_challenge_waits_for_bytes_to_be_paid_with() -> None:
    rig = Rig()
    hand = Hand(rig)
    hand.address = ELSEWHERE
    hand.say(PING)
    rig.wait(500)
    assert len(rig.sent[ELSEWHERE]) == 2  # for three times 18 bytes
    assert hand.say(PING)
    assert len(rig.sent[ELSEWHERE]) == 3


def test_who_does_not_answer_is_forgotten() -> None:
    rig = Rig()
    hand = Hand(rig)
    first = hand.address
    hand.address = ELSEWHERE
    hand.say(message(bytes(1000), 0, 0))
    rig.wait(5000)
    count = len(rig.sent[ELSEWHERE])
    assert 4 <= count <= 10
    paths: Any = hand.session.paths
    assert not paths.trials
    assert not hand.session.path_at
    rig.wait(20_000)
    assert len(rig.sent[ELSEWHERE]) == count
    old = challenges(rig.sent[ELSEWHERE])
    hand.say(respond(old[-1]))  # too late
    assert hand.session.path.remote == first
    [token] = challenges(hand.say(PING))  # it is asked again when it goes on
    hand.say(respond(token))
    assert hand.session.path.remote == ELSEWHERE


def test_addresses_under_validation_are_bounded() -> None:
    rig = Rig()
    hand = Hand(rig)
    first = hand.address
    tokens = {}
    for index in range(50):
        hand.address = (f"198.51.100.{index}", 9)
        [tokens[index]] = challenges(hand.say(PING))
        paths: Any = hand.session.paths
        assert len(paths.trials) <= limits.RUDP_PATHS_MAX
    for index in range(48):
        hand.say(respond(tokens[index]))
        assert hand.session.path.remote == first
    hand.say(respond(tokens[49]))
    assert hand.session.path.remote == ("198.51.100.49", 9)


def test_open_challenges_are_bounded() -> None:
    """Any of the last four may be answered, and none before them."""
    rig = Rig()
    hand = Hand(rig)
    hand.address = ELSEWHERE
    hand.say(message(bytes(1000), 0, 0))
    rig.wait(850)
    tokens = challenges(rig.sent[ELSEWHERE])
    assert len(tokens) > limits.RUDP_CHALLENGES_MAX
    for token in (tokens[0], bytes(8), tokens[-limits.RUDP_CHALLENGES_MAX - 1]):
        hand.say(respond(token))
        assert hand.session.path.remote != ELSEWHERE
    hand.say(respond(tokens[-limits.RUDP_CHALLENGES_MAX]))
    assert hand.session.path.remote == ELSEWHERE


def test_an_answer_may_come_by_another_path() -> None:
    """RFC 9000 section 8.2.3: what it proves is the path of the challenge."""
    rig = Rig()
    hand = Hand(rig)
    first = hand.address
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    hand.address = first
    hand.say(respond(token))
    assert hand.session.path.remote == ELSEWHERE


def test_an_answer_comes_too_late_for_who_has_gone_on() -> None:
    """The address is proved, but it takes another packet from there."""
    rig = Rig()
    hand = Hand(rig)
    first = hand.address
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    hand.address = first
    hand.say(PING)
    hand.say(respond(token))
    assert hand.session.path.remote == first
    hand.address = ELSEWHERE
    hand.say(PING)
    assert hand.session.path.remote == ELSEWHERE


def test_a_stolen_packet_moves_nobody_who_goes_on() -> None:
    """Somebody on the way sends a packet on from an address of his own, faster, and even answers the challenge."""
    rig = Rig()
    hand = Hand(rig)
    first = hand.address
    stolen = hand.packet(PING)
    [token] = challenges(rig.receive(stolen, ELSEWHERE))
    hand.say(message(b"still here", 0, 0))
    rig.receive(hand.packet(respond(token)), ELSEWHERE)  # only who has the packets could make this one
    assert hand.session.path.remote == first
    goes_on(hand)


def test_an_answer_to_the_port_before_proves_the_host() -> None:
    rig = Rig()
    hand = Hand(rig)
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    hand.address = (ELSEWHERE[0], 10)
    hand.say(PING)
    hand.say(respond(token))
    assert hand.session.path.remote == hand.address


def test_the_path_that_was_left_is_kept_for_a_while() -> None:
    rig = Rig()
    hand = Hand(rig)
    rig.wait(20)
    first = hand.address
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    [confirm] = challenges(hand.say(respond(token)))
    hand.say(respond(confirm))
    hand.address = first
    hand.say(PING)
    assert hand.session.path.remote == first  # at once
    hand.address = ELSEWHERE
    hand.say(PING)
    assert hand.session.path.remote == ELSEWHERE
    rig.wait(3000)
    assert not hand.session.path_at
    hand.address = first
    assert challenges(hand.say(PING))  # now it has to show that it is there
    assert hand.session.path.remote == ELSEWHERE


def test_a_path_that_carries_no_full_datagram_is_left_again() -> None:
    rig = Rig()
    hand = Hand(rig)
    first = hand.address
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    hand.say(respond(token))
    assert hand.session.path.remote == ELSEWHERE
    rig.wait(5000)
    full = [data for data in rig.sent[ELSEWHERE] if len(data) == FULL_BYTES and challenges([data])]
    assert 2 <= len(full) <= 5
    assert hand.session.path.remote == first
    hand.address = first
    goes_on(hand)


def test_a_path_on_which_something_has_arrived_is_not_left() -> None:
    """Its challenges were lost, by chance."""
    rig = Rig()
    hand = Hand(rig)
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    hand.say(respond(token))
    hand.session.send(bytes(1000), 0, 0, 0, 0, rig.now)
    rig.settle()
    hand.say(bytes([packet.ACK]) + varints(hand.session.ring.next - 1, 0, 0, 0))
    rig.wait(5000)
    assert hand.session.path.remote == ELSEWHERE
    goes_on(hand)


def test_a_client_answers_challenges_as_large_as_they_came() -> None:
    duo = Moving()
    forged = duo.far
    for size in (BARE_BYTES, 300, FULL_BYTES):
        duo.network.sent.clear()
        room = memoryview(bytearray(2000))
        frame = bytes([PATH_CHALLENGE]) + b"tokentok"
        made = forged.write_probe(room, frame, size, forged.path, forged.peer_cid, duo.now)
        forged.detour = None
        assert made == size
        duo.client.receive(bytes(room[:made]), Path(CLIENT, SERVER), 0, duo.now)
        duo.world.run_for(0.001)
        sent = [data for _, source, _, data in duo.network.sent if source == CLIENT]
        assert [(len(data), frames_of(data)[:9]) for data in sent] == [(size, bytes([PATH_RESPONSE]) + b"tokentok")]


def test_a_flood_of_challenges() -> None:
    """Each packet gets one answer at most, no larger than itself, and no more than four wait."""
    rig = Rig()
    hand = Hand(rig)
    rig.sent.clear()
    flood = [hand.packet(b"".join(bytes([PATH_CHALLENGE]) + bytes([n, index]) * 4 for n in range(100)))
             for index in range(200)]  # fmt: skip
    rig.server.receive_many(flood, Path(None, hand.address), 0, rig.now)
    rig.settle()
    answers = rig.sent[hand.address]
    assert len(answers) == limits.RUDP_CHALLENGES_MAX
    assert all(len(answer) <= len(flood[0]) for answer in answers)
    assert frames_of(answers[-1])[:9] == respond(bytes([99, 199]) * 4)
    goes_on(hand)


@pytest.mark.parametrize("kind", [PATH_CHALLENGE, PATH_RESPONSE])
@pytest.mark.parametrize("size", range(8))
def test_words_that_are_cut_off(kind: int, size: int) -> None:
    ends(Hand(Rig()), 1002, bytes([kind]) + bytes(size), reason="cut off")


def test_packets_about_paths_move_nothing() -> None:
    """RFC 9000 section 9.1: a peer may look whether a path works before it goes there."""
    rig = Rig()
    hand = Hand(rig)
    first = hand.address
    for address in (ELSEWHERE, (first[0], 99)):
        hand.address = address
        [answer] = hand.say(bytes([PATH_CHALLENGE]) + b"anybody?")
        assert frames_of(answer)[:9] == respond(b"anybody?")
        assert hand.session.path.remote == first


def test_a_client_stays_with_its_server() -> None:
    """Whatever address its packets come from: a server does not move."""
    duo = Moving()
    duo.network.rebind(duo.network.port(SERVER), ("x", 1), keep_ns=10 * SECOND)
    assert duo.says(b"as ever")
    assert duo.near.path.remote == SERVER
    assert duo.near.path_changes == 0
