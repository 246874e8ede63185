"""Opening a connection: what a client sends until it is answered, and what a server keeps until an address is proved.

A client says HELLO; a server that is asked by many answers RETRY with a cookie, for which it keeps nothing; else
ACCEPT, and the connection begins with the client's first ordinary packet, which proves that it got that. It must never
let a server send more than three times what an unproved address has sent.
"""

from __future__ import annotations

from transport import limits
from transport.machine import Path
from transport.rudp import packet
from transport.rudp.config import RudpConfig
from transport.rudp.states import LIFE, NEW, On

FIRST_NS = limits.RUDP_HELLO_NS
MOST_NS = limits.RUDP_HELLO_MAX_NS
AMPLIFICATION = limits.RUDP_AMPLIFICATION


def announce(config: RudpConfig, token: bytes = b"") -> packet.Parameters:
    """The parameters that a side with `config` sends."""
    return packet.Parameters(
        max_ack_delay_us=limits.RUDP_ACK_DELAY_MAX_NS // 1000,
        idle_ms=config.idle_ns // limits.MS_NS,
        max_datagram=config.max_datagram,
        connection_window=config.start_window,
        channel_window=config.start_window,
        max_message=config.max_message,
        channels=config.channels,
        checksums=config.checksums,
        codec=config.codec,
        reset_token=token,
        stream_window=config.stream_window,
    )


def agreed_checksum(own: int, peer: int) -> int:
    """Which checksum both sides use: a kind of `packet`, 0 for none."""
    both = own & peer
    if both & packet.CHECKSUM_NONE:
        return 0
    return packet.CHECKSUM_CRC32C if both & packet.CHECKSUM_CRC32C else packet.CHECKSUM_CRC32


class ClientHandshake:
    """HELLOs of one client.

    Attributes:
        due: when the next leaves (ns).
        sent_at: when the last left; 0 if more than one did, so that no round trip can be told by its answer.
    """

    def __init__(self, config: RudpConfig, cid: int, now: int) -> None:
        self.due = now
        self.sent_at = 0
        self.tries = 0
        self.retried = False
        self._config = config
        self._cid = cid
        self._cookie = b""
        self._interval = FIRST_NS

    def write(self, room: memoryview, now: int) -> int:
        """Writes one HELLO, or two where the first was not answered; returns the bytes."""
        hello = packet.encode_hello(self._cid, self._cookie, announce(self._config))
        size = len(hello)
        room[:size] = hello
        self.tries += 1
        self.due = now + self._interval
        self._interval = min(self._interval * 3 // 2, MOST_NS)
        self.sent_at = now if self.tries == 1 else 0
        if self.tries == 1:
            return size
        room[size : 2 * size] = hello
        return 2 * size

    def retry(self, cookie: bytes, now: int) -> bool:
        """The server wants the address proved; False when it said so before."""
        if self._cookie == cookie:
            return False
        self._cookie = cookie
        self.due = now
        self.tries = 0
        self.retried = True
        self._interval = FIRST_NS
        return True


class HalfOpen:
    """What a server keeps of a client whose address is not proved: its parameters and our answer.

    Attributes:
        life: a state of `states.Life`.
        path, client_cid, own_cid, peer: who, and what it announced.
        accept: the ACCEPT packet.
        opened: when (ns).
        received, sent: bytes, so that no more than three times as much is sent.
        accepted_at: when ACCEPT left, 0 if it left more than once.
    """

    def __init__(
        self, path: Path, client_cid: int, own_cid: int, peer: packet.Parameters, accept: bytes, now: int
    ) -> None:
        self.life = LIFE.after(NEW, On.HELLO)
        self.path = path
        self.client_cid = client_cid
        self.own_cid = own_cid
        self.peer = peer
        self.accept = accept
        self.opened = now
        self.received = 0
        self.sent = 0
        self.accepted_at = 0

    def step(self, event: int) -> None:
        """Its life goes on by `event`, one of `states.On`."""
        self.life = LIFE.after(self.life, event)

    def answer(self, size: int, now: int) -> bytes:
        """ACCEPT, in answer to `size` bytes of HELLO; b"" where that would be more than three times what came."""
        self.received += size
        if self.sent + len(self.accept) > AMPLIFICATION * self.received:
            return b""
        self.accepted_at = now if not self.sent else 0
        self.sent += len(self.accept)
        assert self.sent <= AMPLIFICATION * self.received
        return self.accept
