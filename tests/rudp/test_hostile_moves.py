"""Peers that move, challenge and give ids only to do harm, and what is left over when one moves in the midst of it."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from tests.rudp.by_hand import Hand, Rig, ack, close_frame, ends, goes_on, message, varints
from tests.rudp.moving import CLIENT, MS, SECOND, SERVER, Moving
from tests.rudp.test_ids import grown, new_cid, retire_cid
from tests.rudp.test_paths import ELSEWHERE, PING, challenges, frames_of, respond
from transport import limits
from transport.machine import Path
from transport.rudp import packet
from transport.rudp.kinds import PATH_CHALLENGE
from transport.rudp.states import SENT
from transport.sim.config import LinkConfig

ASK = bytes([PATH_CHALLENGE]) + b"anybody?"
BASE = limits.RUDP_DATAGRAM_BYTES_MIN


def with_spare(rig: Rig) -> tuple[Hand, list[int]]:
    """A client old enough to have two ids of the server."""
    hand = Hand(rig)
    rig.wait(1500)
    hand.session.send(b"x", 0, 0, 0, 0, rig.now)
    rig.settle()
    hand.say(ack((hand.session.ring.next - 1, hand.session.ring.next - 1)))
    rig.wait(10)
    return hand, list(hand.session.ids.own.values())


def test_who_moves_on_and_on_and_acknowledges_nothing() -> None:
    """Each move by another of our ids gives one of the peer's up: that must end as a broken rule, if it ends at all."""
    rig = Rig()
    hand, cids = with_spare(rig)
    session = hand.session
    for index in range(3 * limits.RUDP_RETIRES_MAX):
        hand.peer_cid = cids[index % 2]
        hand.address = (hand.address[0], 1000 + index)
        hand.say(new_cid(index + 1), PING)
    assert len(session.ids.retiring) <= limits.RUDP_RETIRES_MAX
    assert session.state == 3
    rig.check_honest()


def test_challenges_fill_no_memory() -> None:
    """Each answer has a packet number, and none of them can be forgotten while an older packet is in flight."""
    rig = Rig()
    hand = Hand(rig)
    hand.session.send(b"never acknowledged", 0, 0, 0, 0, rig.now)
    rig.settle()
    ring = hand.session.ring
    path = Path(None, hand.address)
    most = 0
    for _ in range(limits.RUDP_RING_MAX // limits.RUDP_CHALLENGES_MAX + 1000):
        rig.server.receive_many([hand.packet(ASK) for _ in range(limits.RUDP_CHALLENGES_MAX)], path, 0, rig.now)
        rig.settle()
        most = max(most, ring.next - ring.oldest)
        rig.sent[hand.address].clear()
    assert ring.next > limits.RUDP_RING_MAX
    assert most <= limits.RUDP_RING_MAX
    goes_on(hand)


def test_a_challenge_is_forgotten_with_its_packet() -> None:
    """There was no room for what stood beside it; the next packet has nothing to do with it."""
    rig = Rig()
    hand = Hand(rig)
    for start in range(0, 2 * limits.RUDP_GAPS_MAX + 2, 128):
        hand.say(*[message(b"", number, 0, 1) for number in range(start, start + 128, 2)])
    refused = hand.session.packets_refused
    hand.say(ASK, message(b"", 20_000, 0, 1))
    assert hand.session.packets_refused == refused + 1
    hand.address = (hand.address[0], 99)
    answers = hand.say(PING)
    assert not any(frames_of(data)[:1] == bytes([packet.PATH_RESPONSE]) for data in answers)
    assert hand.session.path.remote == hand.address


def test_a_goodbye_with_a_challenge_is_followed_to_another_port() -> None:
    rig = Rig()
    hand = Hand(rig)
    session = hand.session
    hand.say(ASK, close_frame(0))
    hand.address = (hand.address[0], 99)
    assert [frames_of(data)[:1] for data in hand.say(PING)] == [bytes([packet.CLOSE])]
    assert session.path.remote == hand.address


def test_a_closed_session_that_moves_has_nothing_to_send() -> None:
    """What it had in flight when it ended stays dropped, though it had probed for it."""
    rig = Rig()
    hand = Hand(rig)
    session = hand.session
    session.send(b"lost", 0, 0, 0, 0, rig.now)
    rig.wait(1000)
    session.abort(3, "over", rig.now)
    rig.settle()
    hand.address = (hand.address[0], 99)
    assert [frames_of(data)[:1] for data in hand.say(PING)] == [bytes([packet.CLOSE])]
    assert not session.has_waiting()


def test_the_id_in_use_stays_what_it_was() -> None:
    """NEW_CID says the same each time, also of the id that is spoken to."""
    rig = Rig()
    hand = Hand(rig)
    hand.say(new_cid(0, 0, hand.cid))
    goes_on(hand)
    ends(hand, 1002, new_cid(0, 0, 77), reason="again as another")
    hand = Hand(rig, port=6)
    hand.say(new_cid(3, 3))
    assert hand.session.peer_cid == 1003
    hand.say(new_cid(3, 3))
    goes_on(hand)
    ends(hand, 1002, new_cid(3, 3, 77), reason="again as another")


def test_the_token_in_use_stays_what_it_was() -> None:
    duo = grown(("c", 2))
    duo.goes_to(("c", 2))
    assert duo.says(b"moved")
    used = duo.near.peer_cid
    frame = new_cid(1, 0, used)
    duo.client.receive(forged(duo, frame + duo.near.token), Path(("c", 2), SERVER), 0, duo.now)
    assert duo.near.state == 1
    duo.client.receive(forged(duo, frame + bytes(16)), Path(("c", 2), SERVER), 0, duo.now)
    duo.world.run_for(0.1)
    assert duo.closed["near"].code == 1002


def forged(duo: Moving, frame: bytes) -> bytes:
    """A packet of the server with that frame."""
    room = memoryview(bytearray(2000))
    made = duo.far.write_probe(room, frame, 0, duo.far.path, duo.far.peer_cid, duo.now)
    duo.far.detour = None
    return bytes(room[:made])


def test_a_room_that_is_too_small_for_a_challenge_is_left_alone() -> None:
    rig = Rig()
    hand = Hand(rig)
    rig.server.receive(hand.packet(ASK), Path(None, hand.address), 0, rig.now)
    assert hand.session.fill(memoryview(bytearray(BASE - 1)), rig.now) == -1
    assert hand.session.fill(memoryview(bytearray(BASE)), rig.now) > 0


def test_marks_of_a_path_that_was_left_cut_nothing() -> None:
    rig = Rig()
    hand = Hand(rig)
    hand.session.send(bytes(10_000), 0, 0, 0, 0, rig.now)
    rig.settle()
    last = hand.session.ring.next - 1
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    hand.say(respond(token))
    assert hand.session.path.remote == ELSEWHERE
    hand.say(bytes([packet.ACK_ECN]) + varints(last, 0, 0, 3, 3, 0, 1))
    assert hand.session.ecn.ce == 1
    assert hand.session.controller.statistics()["cuts"] == 0
    last = hand.session.ring.next - 1
    hand.say(bytes([packet.ACK_ECN]) + varints(last, 0, 0, 0, 3, 0, 2))
    assert hand.session.controller.statistics()["cuts"] == 1


def test_who_goes_back_is_sent_no_more_than_every_path_carries() -> None:
    """The path that was left for a moment need not carry what the other one did."""
    rig = Rig(mtu_max=65_000, redundancy=False)
    hand = Hand(rig, max_datagram=65_000)
    first = hand.address
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    [confirm] = challenges(hand.say(respond(token)))
    hand.say(respond(confirm))
    for _ in range(20):
        if hand.session.mtu > BASE:
            break
        hand.session.send(bytes(5000), 0, 0, 0, 0, rig.now)
        rig.settle()
        newest = hand.session.ring.next - 1
        hand.say(ack((0, newest)))
    assert hand.session.mtu > BASE
    hand.address = first
    hand.say(PING)
    assert hand.session.path.remote == first
    assert hand.session.mtu == BASE


def test_what_went_without_pacing_is_no_debt() -> None:
    """A window that is not paced for a while, over a short path; then the path is long, and the window is paced."""
    duo = Moving(LinkConfig(delay_ns=MS // 2))
    duo.say(bytes(300_000))
    duo.world.run_until(lambda: bool(duo.got["far"]), 10)
    small = 10 * BASE
    for _ in range(1000):
        duo.near.controller.window = small
        for _ in range(5):
            duo.say(bytes(1000))
        duo.world.run_for(0.001)
    duo.network.connect(CLIENT, SERVER, LinkConfig(delay_ns=100 * MS))
    for _ in range(10):
        duo.near.controller.window = small
        duo.say(b"far away")
        duo.world.run_for(0.3)
    duo.near.controller.window = 2 * small
    count = len(duo.got["far"])
    began = duo.now
    duo.say(bytes(20_000))
    duo.world.run_until(lambda: len(duo.got["far"]) > count, 60)
    assert duo.now - began < SECOND


def test_a_client_that_is_told_to_use_other_ids_all_the_time_can_still_move() -> None:
    """A server that takes no notice of RETIRE_CID; the client's own moves must not fail for it."""
    duo = grown(*[("c", port) for port in range(2, 60)])
    session: Any = duo.near
    for index in range(2, 40):
        if len(session.ids.pool) < 2:
            frame = new_cid(index, 0) + bytes(16)
            duo.client.receive(forged(duo, frame), session.path, 0, duo.now)
        duo.goes_to(("c", index))
        assert session.path.local == ("c", index)
    assert len(session.ids.retiring) <= limits.RUDP_RETIRES_MAX


def test_copies_start_from_the_bottom_on_another_path() -> None:
    """What room there was on the old one says nothing of the new one."""
    rig = Rig()
    hand = Hand(rig)
    hand.session.send(b"small", 0, 0, 0, 0, rig.now)
    rig.settle()
    assert hand.session.redundancy.ramp == limits.RUDP_RIDES
    hand.address = ELSEWHERE
    [token] = challenges(hand.say(PING))
    hand.say(respond(token))
    assert hand.session.redundancy.ramp == 0


TALKING, MUTE = ("203.0.113.7", "198.51.100.77", "198.51.100.78"), ("198.51.100.80", "198.51.100.81")


class Mischief:
    """A client that says whatever is allowed, and a little more, from everywhere and by every id that it has."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.rig = Rig(seed)
        self.hand, self.cids = with_spare(self.rig)
        self.session = self.hand.session
        self.came: Counter[str] = Counter()
        self.tokens: list[bytes] = []

    def frame(self) -> bytes:
        draw, session = self.draw, self.session
        kind = draw.randrange(12)
        if kind < 3:
            return PING
        if kind == 3:
            return ASK + bytes(draw.choice((0, 0, 50, 1000)))
        if kind < 6:
            return respond(draw.choice(self.tokens[-6:] or [bytes(8)]))
        if kind == 6 and session.ids:
            number = max(0, session.ids.current + draw.randrange(-2, 4))
            cid = session.peer_cid if number == session.ids.current else 1000 + number
            return new_cid(number, max(0, number - draw.randrange(4)), cid)
        if kind == 7 and session.ids:
            return retire_cid(draw.randrange(session.ids.next))
        if kind < 10 and session.ring.next:
            high = draw.randrange(session.ring.next)
            return ack((draw.randrange(max(0, high - 3), high + 1), high))
        return message(bytes(draw.choice((1, 300))), self.hand.number, 3, 1, number_bytes=4)

    def act(self) -> None:
        draw, rig, hand = self.draw, self.rig, self.hand
        hand.address = (draw.choice((*TALKING, *TALKING, *MUTE)), draw.randrange(1, 4))
        hand.peer_cid = draw.choice([*(self.session.ids.own.values() if self.session.ids else ()), *self.cids])
        data = hand.packet(b"".join([self.frame() for _ in range(draw.randrange(1, 4))]))
        self.came[hand.address[0]] += len(data)
        rig.receive(data, hand.address)
        if self.session.state == 1 and draw.random() < 0.3:
            self.session.send(bytes(draw.choice((10, 2000))), 0, 0, 0, 0, rig.now)
        rig.wait(draw.choice((0, 0, 1, 50, 400)))
        for (host, _), sent in rig.sent.items():
            if host in TALKING:
                self.tokens += [token for token in challenges(sent[-4:]) if token not in self.tokens[-8:]]

    def check(self) -> None:
        session = self.session
        for host in MUTE:
            sent = sum([len(data) for address, some in self.rig.sent.items() if address[0] == host for data in some])
            assert sent <= limits.RUDP_AMPLIFICATION * self.came[host], host
        assert session.path.remote[0] not in MUTE
        ring = session.ring
        flight = [ring.get(number) for number in range(ring.oldest, ring.next)]
        assert session.in_flight == sum([packet.size for packet in flight if packet.state == SENT])
        if session.ids is not None:
            assert len(session.ids.pool) < limits.RUDP_CIDS_MAX or session.state == 3
            assert len(session.ids.own) <= 2
        if session.paths is not None:
            assert len(session.paths.trials) <= limits.RUDP_PATHS_MAX
            assert len(session.paths.answers) <= limits.RUDP_CHALLENGES_MAX


@pytest.mark.parametrize("seed", range(40))
def test_who_says_anything_from_anywhere(seed: int) -> None:
    """No address is flooded that has not answered, none of them is followed, and the honest are served."""
    mischief = Mischief(seed)
    for _ in range(150):
        mischief.act()
        mischief.check()
    mischief.rig.check_honest()
