"""What a log may raise, one class for each thing that a program would handle in another way.

They are here and not in `transport.errors` because only this layer and those above it meet them. None of them is ever
raised for an append that was acknowledged: what was acknowledged is there.
"""

from __future__ import annotations

from transport.errors import TransportError


class LogError(TransportError):
    """Root of everything that a log raises on purpose."""


class LogClosed(LogError):
    """The log is not open, or was closed while the call waited; a waiting append may or may not have been written."""


class LogFailed(LogError):
    """The store could not be read or written (`__cause__` says why); nothing of the call was written.

    A log that can't know whether its last write reached the disk raises it for every later write: a new open finds out.
    """


class LogFull(LogFailed):
    """No room: the disk is full, or the bound on the log's size is reached. Nothing of the call was written."""


class LogCorrupt(LogFailed):
    """The file is no log, or is damaged. Nothing is repaired silently."""


class LogVersion(LogError):
    """The file has another format version than this one reads. Attributes: `found`, `supported`."""

    def __init__(self, text: str, found: int, supported: int) -> None:
        super().__init__(text)
        self.found = found
        self.supported = supported


class LogLocked(LogError):
    """Another writer has the log open, in this process or another."""


class LogReadOnly(LogError):
    """A write on a log that was opened to be read."""


class LogLimit(LogError, ValueError):
    """Something is over a limit of `transport/limits.py`. Attributes: `what`, `size`, `limit`."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what}: {size} is over the limit of {limit}")
        self.what = what
        self.size = size
        self.limit = limit

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        return type(self), (self.what, self.size, self.limit)


class UnknownStream(LogError, LookupError):
    """A stream that the log has never had, or has dropped."""


class Fenced(LogError):
    """A session's generation is not the one that the caller holds: a newer connection of it took over, or it is gone.

    Nothing of the call was written. Attribute: `generation`, the stored one, None where there is no such session.
    """

    def __init__(self, session: str, held: int | None, generation: int | None) -> None:
        stored = "no such session" if generation is None else f"it is at generation {generation}"
        super().__init__(f"session {session!r}, generation {held}: {stored}")
        self.session = session
        self.held = held
        self.generation = generation

    def __reduce__(self) -> tuple[type, tuple[str, int | None, int | None]]:
        return type(self), (self.session, self.held, self.generation)
