"""What a client proves itself by is good for nothing else."""

from __future__ import annotations

import pytest

from transport.events.envelope import Claim
from transport.events.tokens import SECRET_BYTES, TICKET_BYTES, Tokens

KEY = b"k" * 32


def entropy(size: int) -> bytes:
    return b"e" * size


def test_a_secret_is_its_owner_s() -> None:
    tokens = Tokens(KEY, entropy)
    secret = tokens.secret("s", "/", b"ann")
    assert len(secret) == SECRET_BYTES
    assert tokens.owns("s", "/", b"ann", secret)
    for session, namespace, identity, given in (
        ("t", "/", b"ann", secret), ("s", "/b", b"ann", secret), ("s", "/", b"bob", secret), ("s", "/", b"ann", b""),
        ("s", "/", b"ann", secret[:-1]), ("s", "/", b"ann", bytes(SECRET_BYTES)),
    ):  # fmt: skip
        assert not tokens.owns(session, namespace, identity, given)
    assert not Tokens(b"l" * 32, entropy).owns("s", "/", b"ann", secret)
    assert tokens.proof(secret) != secret


@pytest.mark.parametrize(
    "changes",
    [{"room": "other"}, {"epoch": 8}, {"since": 4}, {"by_client": False}, {"ticket": b""}, {"offset": 4}],
)
def test_a_ticket_is_for_one_room_from_one_offset_on(changes: dict[str, object]) -> None:
    tokens = Tokens(KEY, entropy)
    claim = Claim("r", 7, 5, 5, True, b"")
    claim = claim._replace(ticket=tokens.ticket("s", "/", claim))
    assert len(claim.ticket) == TICKET_BYTES
    assert tokens.admits("s", "/", claim)
    assert tokens.admits("s", "/", claim._replace(offset=500))
    assert not tokens.admits("s", "/", claim._replace(**changes))
    assert not tokens.admits("t", "/", claim)
    assert not tokens.admits("s", "/b", claim)


def test_sessions_have_ids_of_their_own() -> None:
    numbers = iter(range(256))
    tokens = Tokens(KEY, lambda size: bytes([next(numbers)]) * size)
    assert len({tokens.new_session() for _ in range(10)}) == 10
