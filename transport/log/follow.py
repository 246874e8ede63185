"""A stream as it grows, for tools that look at a log from outside: pages, then whatever is appended.

By asking again and again, because a process that only reads is told of nothing. A program that has the log open to
write uses `Log.watch`. It must never pass over a gap without saying so.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

from transport import limits
from transport.log.base import Log
from transport.log.errors import UnknownStream
from transport.log.records import Page, Stream


async def follow(log: Log, stream: Stream, after: int = 0, *, epoch: int | None = None) -> AsyncIterator[Page]:
    """Pages of a stream from `after` on, for ever; each has events, or `trimmed` set, or both.

    A stream that is not there yet is waited for. When its epoch is not `epoch`, or becomes another one, the next page
    begins with its oldest event and is `trimmed`: what was read before belongs to another epoch.

    Args:
        log: open to read or to write.
        stream: its name.
        after: the last offset that is known; 0 for all.
        epoch: to which `after` belongs; None for that of the first page.

    Raises:
        LogError: as `Log.read`.
    """
    while True:
        more = False
        try:
            page = await log.read(stream, after)
            if epoch is not None and page.head.epoch != epoch:
                page = dataclasses.replace(await log.read(stream, 0), trimmed=True)
            epoch = page.head.epoch
            more = page.more
            if page.events or page.trimmed:
                after = page.events[-1].offset if page.events else page.head.top
                yield page
        except UnknownStream:
            pass
        if not more:
            await asyncio.sleep(limits.LOG_FOLLOW_S)
