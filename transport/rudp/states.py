"""The state machines of reliable UDP as tables: a connection's life, a packet's, the first slow start, BBR, the search
for a path's MTU, its ECN validation. The documents are drawn from them.

Not compiled, so that compiled modules can take the states as C integers of their own. A table must never be walked for
each packet: whoever asks where something is compares a number. So the state of a packet is assigned, and a test
compares each assignment with the table.
"""

from __future__ import annotations

from enum import IntEnum

from transport.session import SessionState
from transport.states import Event, Machine, Row


class Life(IntEnum):
    """Where a connection is. It only ever moves forward."""

    NEW = 0
    OPENING = 1  # a client that has no answer
    HALF_OPEN = 2  # a client of ours whose address is not proved: no session yet
    OPEN = 3
    FLUSHING = 4  # the application has closed, and something reliable is not acknowledged
    CLOSING = 5  # CLOSE is sent
    CLOSED = 6  # over, and the application has to be told
    LINGERING = 7  # the application is gone, the peer may not have heard our CLOSE
    GONE = 8


NEW, OPENING, HALF_OPEN, OPEN, FLUSHING, CLOSING, CLOSED, LINGERING, GONE = Life

PUBLIC = [
    int(state)
    for state in (
        *[SessionState.OPENING] * 3, SessionState.OPEN, *[SessionState.CLOSING] * 2, *[SessionState.CLOSED] * 3,
    )
]  # fmt: skip
"""What a `Life` is for those above: a `SessionState`, as plain numbers."""


class On(IntEnum):
    """What a connection's life goes on by."""

    CONNECT = 0
    HELLO = 1
    LATE = 2
    RETRY = 3
    ACCEPT = 4
    REFUSE = 5
    TIMEOUT = 6
    PROOF = 7
    CROWDED = 8
    SHUT = 9
    ABORT = 10
    FLUSHED = 11
    CLOSE_LATE = 12
    UNANSWERED = 13
    CLOSE = 14
    RULE = 15
    SILENCE = 16
    RESET = 17
    PACKET = 18
    LEFT = 19
    LINGERED = 20


EVENTS = {
    On.CONNECT: Event("connect", "the application connects"),
    On.HELLO: Event("HELLO", "HELLO that it takes"),
    On.LATE: Event("no answer", "300 ms after HELLO, then 450 ms, then 675 ms, then 1 s each"),
    On.RETRY: Event("RETRY", "RETRY for its cid with a cookie that it does not use yet"),
    On.ACCEPT: Event("ACCEPT", "ACCEPT for its cid"),
    On.REFUSE: Event("REFUSE", "REFUSE for its cid, or the network says that nobody is there"),
    On.TIMEOUT: Event("10 s", "10 s"),
    On.PROOF: Event("SHORT packet", "a SHORT packet for its cid with a good checksum and number"),
    On.CROWDED: Event("too many", "there are too many"),
    On.SHUT: Event("close", "the application closes"),
    On.ABORT: Event("abort", "the application breaks off"),
    On.FLUSHED: Event("flushed", "all reliable messages and SKIPs of its own are acknowledged"),
    On.CLOSE_LATE: Event("no answer", "a PTO after CLOSE, then half as long again each time, up to 1 s"),
    On.UNANSWERED: Event("8 without answer", "it has said CLOSE 8 times, and the time is over"),
    On.CLOSE: Event("CLOSE", "CLOSE"),
    On.RULE: Event("broken rule", "the peer breaks a rule"),
    On.SILENCE: Event("silence", "[silence](#silence), or acks stay away"),
    On.RESET: Event("RESET", "RESET"),
    On.PACKET: Event("packet", "a new valid packet"),
    On.LEFT: Event("end taken", "the application has taken the end"),
    On.LINGERED: Event("3 PTO", "three PTO later, 10 s at most"),
}

ALIVE = (Life.OPEN, Life.FLUSHING, Life.CLOSING)
BREAKS_OFF = "drops what it has queued; CLOSE with the code, at once"
TELLS_NOBODY = "tells nobody"
AGAIN = "CLOSE again, if it has sent one, 8 times at most in all"

LIFE = Machine(
    "a connection",
    Life,
    On,
    EVENTS,
    [
        Row((Life.NEW,), On.CONNECT, Life.OPENING, "chooses its cid; HELLO with an empty cookie"),
        Row((Life.OPENING,), On.LATE, Life.OPENING, "HELLO twice"),
        Row((Life.OPENING,), On.RETRY, Life.OPENING,
            "HELLO with that cookie at once; begins the times above afresh"),
        Row((Life.OPENING,), On.ACCEPT, Life.OPEN,
            "takes scid and parameters; its first SHORT packet at once, with PING if it has nothing else"),
        Row((Life.OPENING,), On.REFUSE, Life.CLOSED, "ends with the code, or 1006"),
        Row((Life.OPENING,), On.TIMEOUT, Life.CLOSED, "ends with 1101"),
        Row((Life.OPENING,), On.SHUT, Life.CLOSED, TELLS_NOBODY),
        Row((Life.OPENING,), On.ABORT, Life.CLOSED, TELLS_NOBODY),
        Row((Life.NEW,), On.HELLO, Life.HALF_OPEN, "chooses its cid; ACCEPT"),
        Row((Life.HALF_OPEN,), On.HELLO, Life.HALF_OPEN, "the same ACCEPT again, if that keeps the bound below"),
        Row((Life.HALF_OPEN,), On.PROOF, Life.OPEN, "acts on its frames; may send from now on"),
        Row((Life.HALF_OPEN,), On.TIMEOUT, Life.GONE, "forgets everything"),
        Row((Life.HALF_OPEN,), On.CROWDED, Life.GONE, "forgets everything"),
        Row((Life.OPEN,), On.SHUT, Life.FLUSHING, "sends on what it has queued"),
        Row((Life.FLUSHING,), On.FLUSHED, Life.CLOSING, "CLOSE"),
        Row((Life.CLOSING,), On.CLOSE_LATE, Life.CLOSING, "CLOSE again, 8 times in all"),
        Row((Life.CLOSING,), On.UNANSWERED, Life.CLOSED, "ends with its own code, uncleanly"),
        Row((Life.OPEN,), On.CLOSE, Life.CLOSED, "CLOSE with the same code; drops what it has queued"),
        Row((Life.FLUSHING,), On.CLOSE, Life.CLOSED, "CLOSE with its own code; drops what it has queued"),
        Row((Life.CLOSING,), On.CLOSE, Life.CLOSED, "ends with its own code"),
        Row((Life.OPEN, Life.FLUSHING), On.RESET, Life.CLOSED, "ends with 1006"),
        Row((Life.CLOSING,), On.RESET, Life.CLOSED,
            "ends with its own code; so it does if the network says that nobody is there"),
        Row(ALIVE, On.RULE, Life.CLOSED, BREAKS_OFF),
        Row(ALIVE, On.ABORT, Life.CLOSED, BREAKS_OFF),
        Row(ALIVE, On.SILENCE, Life.CLOSED, "drops what it has queued; CLOSE with 1102, at once"),
        Row((Life.CLOSED,), On.PACKET, Life.CLOSED, AGAIN),
        Row((Life.LINGERING,), On.PACKET, Life.LINGERING, AGAIN),
        Row((Life.CLOSED,), On.LEFT, Life.LINGERING),
        Row((Life.LINGERING,), On.LINGERED, Life.GONE, "forgets everything"),
        Row((Life.LINGERING,), On.CROWDED, Life.GONE, "forgets everything"),
    ],
)  # fmt: skip


class Phase(IntEnum):
    """How the first slow start grows (RFC 9406)."""

    SLOW_START = 0
    CAREFUL = 1  # "conservative slow start"
    DONE = 2


SLOW_START, CAREFUL, DONE = Phase


class Seen(IntEnum):
    """What round trips say."""

    RISE = 0
    FALL = 1
    ROUNDS = 2


HYSTART = Machine(
    "a slow start",
    Phase,
    Seen,
    {
        Seen.RISE: Event(
            "rise", "the least round trip of a round is an eighth, 4 to 16 ms, above that of the round before"
        ),
        Seen.FALL: Event("fall", "the least round trip of a round is below the one that made it careful"),
        Seen.ROUNDS: Event("5 rounds", "five rounds with a window that was used"),
    },
    [
        Row((Phase.SLOW_START,), Seen.RISE, Phase.CAREFUL, "grows by a quarter of what is acknowledged"),
        Row((Phase.CAREFUL,), Seen.FALL, Phase.SLOW_START, "grows by all that is acknowledged"),
        Row((Phase.CAREFUL,), Seen.ROUNDS, Phase.DONE, "congestion avoidance from this window on"),
    ],
)


class Search(IntEnum):
    """What a search for the path's MTU is at (RFC 8899 section 5.2)."""

    SEARCHING = 0
    DOUBTING = 1  # whether the path still carries what it did
    COMPLETE = 2


SEARCHING, DOUBTING, COMPLETE = Search


class Tried(IntEnum):
    """What becomes of its probes, and of larger packets."""

    ARRIVED = 0
    FAILED = 1
    EXHAUSTED = 2
    RAISE = 3
    HOLE = 4
    MOVED = 5


SEARCH = Machine(
    "an MTU search",
    Search,
    Tried,
    {
        Tried.ARRIVED: Event("arrived", "a probe is acknowledged"),
        Tried.FAILED: Event("3 lost", "three probes of one size are lost, or the system refuses them"),
        Tried.EXHAUSTED: Event("none left", "no size is left between what arrives and what fails"),
        Tried.RAISE: Event("600 s", "600 s have passed"),
        Tried.HOLE: Event(
            "black hole",
            "three packets over 1,200 bytes in a row are lost, and of what left later only smaller ones have arrived; "
            "or the system refuses one",
        ),
        Tried.MOVED: Event("another path", "the connection moves to another path"),
    },
    [
        Row((Search.SEARCHING, Search.COMPLETE), Tried.ARRIVED, Search.SEARCHING, "fills packets to that size"),
        Row((Search.SEARCHING,), Tried.FAILED, Search.SEARCHING, "tries smaller ones only"),
        Row((Search.SEARCHING,), Tried.EXHAUSTED, Search.COMPLETE),
        Row((Search.COMPLETE,), Tried.RAISE, Search.SEARCHING, "what failed may be tried again"),
        Row((Search.SEARCHING, Search.COMPLETE), Tried.HOLE, Search.DOUBTING,
            "fills packets to 1,200 bytes; probes with the size that it had"),
        Row((Search.DOUBTING,), Tried.ARRIVED, Search.SEARCHING, "fills packets to that size again"),
        Row((Search.DOUBTING,), Tried.FAILED, Search.SEARCHING, "tries smaller ones only; counts a black hole"),
        Row((Search.SEARCHING, Search.DOUBTING, Search.COMPLETE), Tried.MOVED, Search.SEARCHING,
            "fills packets to 1,200 bytes; forgets what failed"),
    ],
)  # fmt: skip


class Ecn(IntEnum):
    """What is known of ECN marks towards a path (RFC 9000 appendix A.4)."""

    OFF = 0
    TESTING = 1
    UNKNOWN = 2
    CAPABLE = 3
    FAILED = 4


OFF, TESTING, UNKNOWN, CAPABLE, FAILED = Ecn


class Marked(IntEnum):
    """What becomes of marked packets."""

    START = 0
    TESTED = 1
    CONFIRMED = 2
    MISMATCH = 3


ECN = Machine(
    "an ECN validation",
    Ecn,
    Marked,
    {
        Marked.START: Event("open", "the connection opens, or moves to another path"),
        Marked.TESTED: Event("10 packets", "ten packets have left, or three PTO have passed"),
        Marked.CONFIRMED: Event("counts agree", "an ack names marked packets, and the counts in it agree"),
        Marked.MISMATCH: Event(
            "counts disagree", "an ack names marked packets without counts, or counts in it do not agree"
        ),
    },
    [
        Row(tuple(Ecn), Marked.START, Ecn.TESTING, "marks packets ECT(0)"),
        Row((Ecn.TESTING,), Marked.TESTED, Ecn.UNKNOWN, "marks none"),
        Row((Ecn.TESTING, Ecn.UNKNOWN), Marked.CONFIRMED, Ecn.CAPABLE, "marks packets ECT(0)"),
        Row((Ecn.TESTING, Ecn.UNKNOWN, Ecn.CAPABLE), Marked.MISMATCH, Ecn.FAILED, "marks none"),
    ],
)


class Probe(IntEnum):
    """What BBR is about (draft-ietf-ccwg-bbr section 5.1)."""

    STARTUP = 0
    DRAIN = 1
    DOWN = 2  # these four: ProbeBW
    CRUISE = 3
    REFILL = 4
    UP = 5
    PROBE_RTT = 6


STARTUP, DRAIN, DOWN, CRUISE, REFILL, UP, PROBE_RTT = Probe


class Found(IntEnum):
    """What BBR has found out."""

    FULL = 0
    EMPTY = 1
    SPARE = 2
    TIME = 3
    ROUND = 4
    ENOUGH = 5
    STALE = 6
    FRESH = 7
    FRESH_EARLY = 8
    NO_LOSS_AT_START = 9
    NO_LOSS = 10


PROBING = (Probe.DOWN, Probe.CRUISE, Probe.REFILL, Probe.UP)
AS_IF_NOT = "as if the losses had not been"

BBR = Machine(
    "BBR",
    Probe,
    Found,
    {
        Found.FULL: Event(
            "full", "three round trips without a quarter more delivered, or a round trip with too many losses or marks"
        ),
        Found.EMPTY: Event("empty", "no more in flight than the path holds, or three round trips later"),
        Found.SPARE: Event("room", "no more in flight than the path holds, and less than what was lost at"),
        Found.TIME: Event("time", "2 to 3 s, or up to 63 round trips, after a probe; or that was a cautious one"),
        Found.ROUND: Event("round", "a round trip later"),
        Found.ENOUGH: Event(
            "enough", "as in startup, or it is a cautious probe, and as much is in flight as was too much last time"
        ),
        Found.STALE: Event("stale", "no round trip was as short as the least for 5 s or ten of them, nor was it idle"),
        Found.FRESH: Event("fresh", "200 ms and a round trip with half of that in flight"),
        Found.FRESH_EARLY: Event("fresh, not full", "the same, and the path was never full"),
        Found.NO_LOSS_AT_START: Event("startup undone", "all that ended startup was acknowledged after all"),
        Found.NO_LOSS: Event("probe undone", "all that ended a probe was acknowledged after all"),
    },
    [
        Row((Probe.STARTUP,), Found.FULL, Probe.DRAIN, "no more at 2.77 times what is delivered, but at half of it"),
        Row((Probe.DRAIN,), Found.EMPTY, Probe.DOWN, "at nine tenths"),
        Row((Probe.DOWN,), Found.SPARE, Probe.CRUISE, "at the rate"),
        Row((Probe.DOWN, Probe.CRUISE), Found.TIME, Probe.REFILL, "forgets what losses since the last probe took away"),
        Row((Probe.REFILL,), Found.ROUND, Probe.UP, "at five quarters"),
        Row((Probe.UP,), Found.ENOUGH, Probe.DOWN, "at nine tenths; remembers what was too much in flight"),
        Row((Probe.STARTUP, Probe.DRAIN, *PROBING), Found.STALE, Probe.PROBE_RTT,
            "keeps half of what the path holds in flight"),
        Row((Probe.PROBE_RTT,), Found.FRESH, Probe.CRUISE, "at the rate"),
        Row((Probe.PROBE_RTT,), Found.FRESH_EARLY, Probe.STARTUP, "at 2.77 times what is delivered"),
        Row((Probe.DRAIN, *PROBING), Found.NO_LOSS_AT_START, Probe.STARTUP, AS_IF_NOT),
        Row((Probe.DOWN, Probe.CRUISE, Probe.REFILL), Found.NO_LOSS, Probe.REFILL, AS_IF_NOT),
    ],
)  # fmt: skip


class Packet(IntEnum):
    """What is known of a packet number."""

    FREE = 0
    SENT = 1  # in flight
    ACKED = 2
    LOST = 3
    SKIPPED = 4  # left out on purpose
    QUIET = 5  # sent, and asks for no ack


FREE, SENT, ACKED, LOST, SKIPPED, QUIET = Packet


class Fate(IntEnum):
    """What happens to a packet number."""

    LEAVES = 0
    LEAVES_QUIETLY = 1
    LEFT_OUT = 2
    ACK = 3
    LATE = 4
    FORGOTTEN = 5


PACKET = Machine(
    "a packet",
    Packet,
    Fate,
    {
        Fate.LEAVES: Event("sent", "it leaves, and asks for an ack"),
        Fate.LEAVES_QUIETLY: Event("sent without", "it leaves, and asks for none"),
        Fate.LEFT_OUT: Event("left out", "the number is left out, once in a while"),
        Fate.ACK: Event("ack", "an ack names it for the first time"),
        Fate.LATE: Event("late", "later ones were acknowledged, or its time is over, or the ring is full"),
        Fate.FORGOTTEN: Event("forgotten", "nothing older is in flight; a lost one stays for 2 s"),
    },
    [
        Row((Packet.FREE,), Fate.LEAVES, Packet.SENT, "counts as in flight"),
        Row((Packet.FREE,), Fate.LEAVES_QUIETLY, Packet.QUIET),
        Row((Packet.FREE,), Fate.LEFT_OUT, Packet.SKIPPED),
        Row((Packet.SENT,), Fate.ACK, Packet.ACKED, "what it carried is settled"),
        Row((Packet.SENT,), Fate.LATE, Packet.LOST, "what it carried goes again; the window is cut"),
        Row((Packet.LOST,), Fate.ACK, Packet.ACKED, "what it carried is settled; a cut that was wrong is undone"),
        Row((Packet.QUIET,), Fate.ACK, Packet.ACKED),
        Row((Packet.ACKED, Packet.LOST, Packet.QUIET, Packet.SKIPPED), Fate.FORGOTTEN, Packet.FREE,
            "its record is free for another number"),
    ],
)  # fmt: skip
