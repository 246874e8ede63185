"""Connection ids beside the first: who gets one, when it is used, and what a peer can do with them. In virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rudp.by_hand import KEY, MS, Hand, Rig, ends, goes_on, varint, varints
from tests.rudp.moving import CLIENT, Moving
from transport import limits
from transport.errors import CloseCode
from transport.rudp import packet
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.config import LinkConfig

PING = bytes([packet.PING])


def new_cid(number: int, floor: int = 0, cid: int | None = None) -> bytes:
    """The frame as a client sends it."""
    return bytes([packet.NEW_CID]) + varints(number, floor) + (1000 + number if cid is None else cid).to_bytes(8, "big")


def retire_cid(number: int) -> bytes:
    return bytes([packet.RETIRE_CID]) + varint(number)


def grown(*homes: Any, link: LinkConfig | None = None) -> Moving:
    """A connection that is old enough for the client to have a spare id."""
    duo = Moving(link, homes=homes)
    duo.world.run_for(1.5)
    assert duo.says(b"first")
    duo.world.run_for(0.2)
    assert duo.says(b"second")
    duo.world.run_for(2)
    assert duo.near.ids.pool
    return duo


def test_a_young_connection_has_no_spare_ids() -> None:
    duo = Moving()
    assert duo.says(b"x")
    duo.world.run_for(0.5)
    assert duo.near.ids is None
    assert duo.far.ids is None


def test_a_server_gives_one_spare_id() -> None:
    duo = grown()
    given = duo.far.ids.own[1]
    assert duo.near.ids.pool == {1: (given, duo.server.token_of(given))}
    for _ in range(20):
        duo.says(b"more")
        duo.world.run_for(0.5)
    assert list(duo.far.ids.own) == [0, 1]
    assert list(duo.near.ids.own) == [0]
    assert not duo.far.ids.pool


def test_an_idle_connection_gets_its_spare_by_the_keep_alive() -> None:
    duo = Moving()
    duo.world.run_for(40)
    assert duo.near.ids.pool


@pytest.mark.parametrize("address", [("c", 2), ("d", 1)], ids=["port", "host"])
def test_who_moves_on_purpose_is_not_known_by_its_ids(address: Any) -> None:
    """Neither end uses an id on the new path that was seen on the old one."""
    duo = grown(address)
    before = {int.from_bytes(data[1:9], "big") for _, _, _, data in duo.network.sent}
    duo.network.sent.clear()
    duo.goes_to(address)
    assert duo.says(b"moved")
    duo.world.run_for(0.2)
    after = {int.from_bytes(data[1:9], "big") for _, source, target, data in duo.network.sent
             if address in (source, target)}  # fmt: skip
    assert len(after) == 2
    assert not after & before
    assert duo.far.path.remote == address
    assert duo.near.ids.current == duo.far.ids.current == 1
    assert not duo.near.ids.retiring
    assert not duo.far.ids.retiring
    assert list(duo.near.ids.own) == list(duo.far.ids.own) == [1]
    for _ in range(3):
        duo.world.run_for(1)
        assert duo.says(b"on we go")
    assert list(duo.near.ids.pool) == [2]  # the next is there


def test_a_nat_changes_no_ids() -> None:
    duo = grown()
    used = (duo.near.peer_cid, duo.far.peer_cid)
    duo.network.rebind(duo.port, ("c", 9))
    assert duo.says(b"x")
    duo.network.rebind(duo.port, ("d", 9))
    assert duo.says(b"x")
    assert (duo.near.peer_cid, duo.far.peer_cid) == used


def test_without_a_spare_the_old_id_goes_on() -> None:
    duo = Moving(homes=(("d", 1),))
    used = duo.near.peer_cid
    duo.goes_to(("d", 1))
    assert duo.says(b"x")
    duo.world.run_for(0.1)
    assert duo.near.peer_cid == used
    assert duo.far.path.remote == ("d", 1)


def test_many_moves_under_loss() -> None:
    homes = [(f"d{index}", 1) if index % 3 else ("c", index + 2) for index in range(40)]
    duo = grown(*homes, link=LinkConfig(delay_ns=10 * MS, loss=0.2, reorder=0.2, reorder_ns=30 * MS))
    for index, home in enumerate(homes):
        duo.goes_to(home)
        assert duo.says(b"%d" % index)
        assert len(duo.server._aliases) <= limits.RUDP_CIDS_MAX - 1
        assert len(duo.client._aliases) <= limits.RUDP_CIDS_MAX - 1
        if index % 4 == 3:
            duo.world.run_for(1.2)
    assert duo.far.ids.current > 3
    assert duo.near.ids.current > 3
    assert not duo.closed


def test_the_table_of_ids_is_empty_after_the_end() -> None:
    duo = grown()
    duo.goes_to(CLIENT)
    assert duo.says(b"x")
    assert duo.server._aliases
    assert duo.client._aliases
    duo.near.close(0, "", duo.now)
    duo.world.run_until(lambda: len(duo.closed) == 2, 10)
    duo.world.run_for(20)
    assert not duo.server._aliases
    assert not duo.client._aliases
    assert not duo.server.sessions


def test_a_restarted_server_is_noticed_under_the_new_id() -> None:
    duo = grown(("c", 2))
    duo.goes_to(("c", 2))
    assert duo.says(b"x")
    duo.server = RudpEndpoint(duo.server.config, duo.network.entropy("again"), True, b"k" * 32)
    duo.world.sides[1].machine = duo.server
    began = duo.now
    duo.say(b"is anybody there?")
    duo.world.run_until(lambda: "near" in duo.closed, 10)
    assert duo.closed["near"].code == CloseCode.LOST
    assert duo.now - began == 20 * MS


# By hand: a client that does as it likes


def frames_to(rig: Rig, hand: Hand, kind: int) -> list[bytes]:
    """Frames of that kind, up to the end of their packet, that the server has sent to `hand`."""
    found = []
    for data in rig.sent.get(hand.address, []):
        frames = data[10 + (data[0] & 3) : -4]
        if frames[:1] == bytes([packet.ACK]):
            frames = frames[5:]
        if frames[:1] == bytes([kind]):
            found.append(frames)
    return found


def test_as_many_ids_as_fit_and_no_more(rig: Rig) -> None:
    hand = Hand(rig)
    for number in range(1, limits.RUDP_CIDS_MAX):
        hand.say(new_cid(number))
    assert len(hand.session.ids.pool) == limits.RUDP_CIDS_MAX - 1
    goes_on(hand)
    ends(hand, 1002, new_cid(limits.RUDP_CIDS_MAX), reason="connection ids")


def test_ids_below_the_floor_are_given_up(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(new_cid(1), new_cid(2))
    hand.say(new_cid(3, 3))
    assert hand.session.peer_cid == 1003
    assert list(hand.session.ids.pool) == []
    assert frames_to(rig, hand, packet.RETIRE_CID)[0][:6] == retire_cid(1) + retire_cid(2) + retire_cid(0)
    hand.say(new_cid(2))  # it was late
    assert hand.session.peer_cid == 1003
    assert frames_to(rig, hand, packet.RETIRE_CID)[-1][:2] == retire_cid(2)
    hand.say(new_cid(3, 3))  # again
    goes_on(hand)


@pytest.mark.parametrize("frame", [new_cid(1, 2), new_cid(1, 0, 0), new_cid(1)[:-1], retire_cid(5), retire_cid(0)[:1]])
def test_malformed_ids(rig: Rig, frame: bytes) -> None:
    ends(Hand(rig), 1002, frame)


def test_one_number_for_two_ids(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(new_cid(1))
    ends(hand, 1002, new_cid(1, 0, 77), reason="again as another")


def test_a_flood_of_ids_that_are_to_be_given_up() -> None:
    """Who never acknowledges that would have us keep more and more of them (CVE-2024-22189)."""
    rig = Rig()
    hand = Hand(rig)
    for number in range(1, limits.RUDP_RETIRES_MAX + 1):
        hand.say(new_cid(number, number))
        assert len(hand.session.ids.retiring) == number
    ends(hand, 1002, new_cid(17, 17), reason="no notice")
    rig.check_honest()


def test_a_flood_of_ids_that_were_given_up() -> None:
    """Each time one more is given, and one a second at most."""
    rig = Rig()
    hand = Hand(rig)
    for _ in range(200):
        rig.wait(50)
        hand.session.send(b"x", 0, 0, 0, 0, rig.now)
        rig.settle()
        hand.say(bytes([packet.ACK]) + varints(hand.session.ring.next - 1, 0, 0, 0))
        for number in range(hand.session.ids.next if hand.session.ids else 0):
            hand.say(retire_cid(number))
        assert len(rig.server._aliases) <= 1
    assert 8 <= hand.session.ids.next <= 12
    goes_on(hand)


def test_ids_of_the_server_go_with_their_token() -> None:
    rig = Rig()
    hand = Hand(rig)
    rig.wait(1500)
    hand.session.send(b"x", 0, 0, 0, 0, rig.now)
    rig.settle()
    hand.say(bytes([packet.ACK]) + varints(hand.session.ring.next - 1, 0, 0, 0))
    rig.wait(10)
    [frame] = frames_to(rig, hand, packet.NEW_CID)
    cid = hand.session.ids.own[1]
    assert frame[:11] == bytes([packet.NEW_CID]) + varints(1, 0) + cid.to_bytes(8, "big")
    assert frame[11:27] == packet.reset_token(KEY, cid)
    hand.peer_cid, first = cid, hand.peer_cid
    hand.say(PING)
    assert rig.server._aliases[cid].addressed == cid
    hand.peer_cid = first
    goes_on(hand)
