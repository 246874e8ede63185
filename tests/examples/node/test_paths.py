"""A client in Node takes cids, obeys their floor, and answers challenges, as docs/protocol.md says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.examples.node.running import needs_node, through
from tests.rudp.by_hand import varints

pytestmark = needs_node

FIRST_CID = "11" * 8
HEAD_AND_CHECKSUM = 1 + 8 + 4 + 4  # of a datagram that Node writes


def new_cid(number: int, floor: int = 0, byte: int = 0) -> str:
    """NEW_CID of a server."""
    return (b"\x0b" + varints(number, floor) + bytes([byte or 0x20 + number]) * 8 + bytes([number]) * 16).hex()


def client(*packets: str, later: list[str] | None = None) -> dict[str, Any]:
    """What a client does when these packets come, and with `later` what it sends again unless they acknowledge."""
    answer: dict[str, Any] = through("act.js", [{"packets": packets, "later": later}])[0]
    return answer


def retired(answer: dict[str, Any]) -> list[tuple[str, int]]:
    """Which cids it gave up, and to which cid it said so."""
    return [
        (sent["cid"], frame["number"])
        for sent in answer["sent"] for frame in sent["frames"] if frame["frame"] == "RETIRE_CID"
    ]  # fmt: skip


def test_a_spare_cid_is_kept_and_acknowledged() -> None:
    answer = client(new_cid(1), new_cid(1))
    assert answer["code"] is None
    assert {sent["cid"] for sent in answer["sent"]} == {FIRST_CID}
    assert answer["sent"][0]["frames"][0]["ranges"] == [[40, 41]]
    assert retired(answer) == []


def test_the_floor_is_obeyed_and_told_again() -> None:
    """The next cid is used, with its token; what is given up is said once more when nothing is heard."""
    answer = client(new_cid(1), new_cid(2), new_cid(3, floor=2), later=[])
    assert answer["code"] is None
    assert answer["reset_token"] == "02" * 16
    assert {sent["cid"] for sent in answer["sent"]} == {"22" * 8}
    assert sorted(retired(answer)) == [("22" * 8, 0), ("22" * 8, 0), ("22" * 8, 1), ("22" * 8, 1)]


def test_an_acknowledged_retirement_is_not_told_again() -> None:
    answer = client(new_cid(1, floor=1), later=["0201000000"])
    assert retired(answer) == [("21" * 8, 0)]


def test_a_cid_that_comes_behind_its_floor_is_given_up() -> None:
    answer = client(new_cid(3, floor=3), new_cid(1))
    assert sorted(retired(answer)) == [("23" * 8, 0), ("23" * 8, 1)]


@pytest.mark.parametrize(
    "packets",
    [
        [new_cid(1), new_cid(1, byte=9)],
        [new_cid(0, byte=9)],
        [new_cid(number) for number in range(1, 5)],
        [new_cid(1, floor=2)],
        [(b"\x0b\x01\x00" + bytes(24)).hex()],
        [new_cid(30, floor=30), *(new_cid(number) for number in range(1, 17))],
        ["0c01"],
    ],
)
def test_what_ends_it(packets: list[str]) -> None:
    assert client(*packets)["code"] == 1002


def test_as_many_as_may_be() -> None:
    assert client(*(new_cid(number) for number in range(1, 4)))["code"] is None
    assert client(new_cid(30, floor=30), *(new_cid(number) for number in range(1, 16)))["code"] is None
    assert client("0c00", "0c00")["code"] is None


@pytest.mark.parametrize("size", [9, 500, 1200 - HEAD_AND_CHECKSUM])
def test_a_challenge_is_answered_in_as_many_bytes(size: int) -> None:
    answer = client("00" * (size - 9) + "09" + "ab" * 8)
    found = [
        (sent["size"], frame["token"])
        for sent in answer["sent"] for frame in sent["frames"] if frame["frame"] == "PATH_RESPONSE"
    ]  # fmt: skip
    assert found == [(size + HEAD_AND_CHECKSUM, "ab" * 8)]
    assert all(frame["frame"] != "ACK" for sent in answer["sent"] for frame in sent["frames"])


def test_an_answer_never_has_more_than_1200_bytes_and_four_wait() -> None:
    challenges = ["00" * 1300 + "09" + f"{number:016x}" for number in range(6)]
    answer = client(*challenges, "0a" + "00" * 8)
    assert answer["code"] is None
    found = [
        (sent["size"], int(frame["token"], 16))
        for sent in answer["sent"] for frame in sent["frames"] if frame["frame"] == "PATH_RESPONSE"
    ]  # fmt: skip
    assert found == [(1200, number) for number in range(2, 6)]
