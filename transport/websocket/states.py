"""The life of a WebSocket connection as a table: the session walks it, docs/protocol.md is drawn from it.

It must never be walked for each message.
"""

from __future__ import annotations

from enum import IntEnum

from transport.states import Event, Machine, Row


class Phase(IntEnum):
    """Where a connection is. The numbers are those of `transport.session.SessionState`."""

    HTTP = 0  # requests and answers of HTTP/1.1
    OPEN = 1
    CLOSING = 2  # this side has said goodbye; queued messages still leave
    CLOSED = 3


class On(IntEnum):
    """What a connection's life goes on by."""

    SWITCHED = 0
    CLOSE_CALLED = 1
    CLOSE_CAME = 2
    RULE_BROKEN = 3
    HTTP_ENDED = 4
    TIMED_OUT = 5
    LOST = 6
    ABORTED = 7


LIFE = Machine(
    "a WebSocket connection",
    Phase,
    On,
    {
        On.SWITCHED: Event("101", "the server has answered 101 Switching Protocols"),
        On.CLOSE_CALLED: Event("close", "the application closes"),
        On.CLOSE_CAME: Event("CLOSE", "a CLOSE frame comes"),
        On.RULE_BROKEN: Event("rule broken", "the peer breaks a rule or a limit"),
        On.HTTP_ENDED: Event("answered", "the last answer without 101 is written, or has come"),
        On.TIMED_OUT: Event("time-out", "the handshake takes too long, or nothing is heard for too long"),
        On.LOST: Event("end of stream", "the pipe ends"),
        On.ABORTED: Event("abort", "the application aborts"),
    },
    [
        Row((Phase.HTTP,), On.SWITCHED, Phase.OPEN, "frames follow, both ways"),
        Row((Phase.HTTP,), On.HTTP_ENDED, Phase.CLOSED, "the stream is ended"),
        Row((Phase.HTTP,), On.CLOSE_CALLED, Phase.CLOSED, "the stream is ended, no frame is sent"),
        Row((Phase.OPEN,), On.CLOSE_CALLED, Phase.CLOSING, "queued messages leave, then CLOSE; what comes is dropped"),
        Row((Phase.OPEN,), On.CLOSE_CAME, Phase.CLOSED, "CLOSE is answered with its own status, the stream is ended"),
        Row((Phase.CLOSING,), On.CLOSE_CAME, Phase.CLOSED, "the stream is ended"),
        Row((Phase.HTTP,), On.RULE_BROKEN, Phase.CLOSED, "a client ends the stream"),
        Row((Phase.OPEN, Phase.CLOSING), On.RULE_BROKEN, Phase.CLOSED, "CLOSE says why, the stream is ended"),
        Row((Phase.HTTP,), On.TIMED_OUT, Phase.CLOSED, "the stream is ended"),
        Row((Phase.OPEN, Phase.CLOSING), On.TIMED_OUT, Phase.CLOSED, "CLOSE with 1001, the stream is ended"),
        Row((Phase.HTTP, Phase.OPEN, Phase.CLOSING), On.LOST, Phase.CLOSED, "the connection is lost (1006)"),
        Row((Phase.HTTP, Phase.OPEN, Phase.CLOSING), On.ABORTED, Phase.CLOSED, "the stream is ended at once"),
    ],
)
