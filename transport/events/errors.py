"""What the events layer raises, under the library's root.

They are here and not in `transport.errors` because only programs of events meet them.
"""

from __future__ import annotations

from typing import Any

from transport import CloseCode, RemoteProtocolError, TransportError


class EventsError(TransportError):
    """Root of what this layer raises on purpose."""


class Malformed(RemoteProtocolError):
    """A frame that breaks the rules of docs/events-protocol.md; the connection it came on is closed."""

    def __init__(self, reason: str, code: int = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(reason, code)


class Refused(EventsError):
    """A server does not let a client in, or no longer. Attributes: `reason`, a word, and `text`."""

    def __init__(self, reason: str, text: str = "", generation: int = 0) -> None:
        super().__init__(f"{reason}: {text}" if text else reason)
        self.reason = reason
        self.text = text
        self.generation = generation


class Denied(Refused):
    """What was asked for is not allowed. Handlers of `authorize` and `authorize_room` may raise it, with a text."""

    def __init__(self, text: str = "not allowed") -> None:
        super().__init__("denied", text)


class Busy(Refused):
    """A server lets nobody in just now. Attribute: `retry_s`, when another try makes sense."""

    def __init__(self, reason: str, text: str, retry_s: float = 0.0) -> None:
        super().__init__(reason, text)
        self.retry_s = retry_s


class Superseded(Refused):
    """The session was resumed on a newer connection, by this client or by somebody with its cursor file."""

    def __init__(self, text: str = "the session was resumed elsewhere", generation: int = 0) -> None:
        super().__init__("superseded", text, generation)


class CallFailed(EventsError):
    """The other side answers that a call has failed.

    Attributes:
        code: "unknown_event", "invalid", "failed", "timeout", "denied", "busy", "log_full", "lost", "too_large", or a
            program's own.
        text: for people.
    """

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code
        self.text = text

    @classmethod
    def of(cls, data: Any) -> CallFailed:
        """From the body of a reply."""
        if isinstance(data, dict):
            return cls(str(data.get("code", "failed")), str(data.get("text", "")))
        return cls("failed", str(data))


class Failure(CallFailed):
    """What a handler raises to answer a call with an error of its own: `raise Failure("full", "no seat is left")`."""


class CallTimeout(EventsError, TimeoutError):
    """No answer came in time. The message may have been handled, and is still delivered if it can be."""


class PeerGone(EventsError):
    """The client that is asked has no connection; nothing is asked of it."""


class Uncertain(EventsError):
    """The server no longer knows a session whose messages were not settled: whether they were handled, nobody knows."""
