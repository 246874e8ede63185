"""What a client proves itself by: the secret of its session, and a ticket for each room that it was let into.

Both are made from one key that the log keeps, so that a server that was started again, with no session in its memory,
can tell what it gave from what it did not. They are MACs: nothing in them is hidden, nothing in them can be altered.
A ticket must never be good for another session, room, epoch, or an earlier offset than the one its owner was let in at.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from transport.events.envelope import Claim, encode_body

SECRET_BYTES = 24
TICKET_BYTES = 16
SESSION_BYTES = 12


class Tokens:
    """Makes and checks them.

    Args:
        key: at least 16 bytes, kept where the log is.
        entropy: random bytes; seeded in tests.
    """

    def __init__(self, key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._key = key
        self._entropy = entropy

    def new_session(self) -> str:
        """An id that nobody has."""
        return self._entropy(SESSION_BYTES).hex()

    def secret(self, session: str, namespace: str, identity: bytes) -> bytes:
        """What the owner of a session shows to resume it; good for nobody with another identity."""
        return self._mac(["session", session, namespace, identity])[:SECRET_BYTES]

    def owns(self, session: str, namespace: str, identity: bytes, secret: bytes) -> bool:
        """Whether `secret` is the one, compared in constant time."""
        return hmac.compare_digest(self.secret(session, namespace, identity), secret)

    def proof(self, secret: bytes) -> bytes:
        """What the log keeps of a secret."""
        return hashlib.sha256(secret).digest()

    def ticket(self, session: str, namespace: str, claim: Claim) -> bytes:
        """The signature of a claim: of all of it but the offset, which its owner moves."""
        parts: list[str | int | bool | bytes] = ["ticket", session, namespace, claim.room, claim.epoch, claim.since]
        parts.append(claim.by_client)
        return self._mac(parts)[:TICKET_BYTES]

    def admits(self, session: str, namespace: str, claim: Claim) -> bool:
        """Whether this server let that session into that room, no later than at the offset that it claims."""
        good = hmac.compare_digest(self.ticket(session, namespace, claim), claim.ticket)
        return good and claim.offset >= claim.since

    def _mac(self, parts: list[str | int | bool | bytes]) -> bytes:
        return hmac.new(self._key, encode_body(parts), hashlib.sha256).digest()
