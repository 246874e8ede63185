"""Named events over any connection of this package, and an exact account of what a client missed.

`Events` is a server's application, `connect_events` a client. What is promised is in `docs/guides/events.md`, the wire
in `docs/events-protocol.md`. `import transport` does not bring any of it.
"""

from __future__ import annotations

from transport.events.app import Events
from transport.events.connect import EventsClient, connect_events
from transport.events.cursors import FileCursor, SQLiteCursor
from transport.events.errors import (
    CallFailed,
    CallTimeout,
    Denied,
    EventsError,
    Failure,
    PeerGone,
    Refused,
    Superseded,
    Uncertain,
)
from transport.events.messages import Gap, Message
from transport.events.namespace import Answers, Context, Hello, History, Incoming, Namespace, Position, Room
from transport.events.serving import Serving

__all__ = [
    "Answers",
    "CallFailed",
    "CallTimeout",
    "Context",
    "Denied",
    "Events",
    "EventsClient",
    "EventsError",
    "Failure",
    "FileCursor",
    "Gap",
    "Hello",
    "History",
    "Incoming",
    "Message",
    "Namespace",
    "PeerGone",
    "Position",
    "Refused",
    "Room",
    "SQLiteCursor",
    "Serving",
    "Superseded",
    "Uncertain",
    "connect_events",
]
