"""An app on its URLs: the servers below it, and their end without a loss.

`drain` is the graceful way: nobody new is let in, everybody is told when to come back and where not, what is being
handled ends, what was said leaves. It must never close the log before the last server is closed.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import transport
from transport import CloseCode, limits
from transport.api import Opening
from transport.errors import LocalProtocolError, UnsupportedDelivery
from transport.events import envelope
from transport.events.link import Link
from transport.url import parse

if TYPE_CHECKING:
    from transport.events.app import Events

OPTIONS = {"high_water": limits.EVENTS_OUTBOUND_BYTES, "low_water": limits.EVENTS_OUTBOUND_LOW_BYTES}


class Serving:
    """An app that serves. Made by `Events.serve`.

    Attributes:
        servers: one for each URL.
    """

    def __init__(self, app: Events) -> None:
        self.app = app
        self.servers: list[Any] = []
        self._closing = False

    @property
    def urls(self) -> list[Any]:
        """What to connect to, with the real ports, in the order given."""
        return [server.url for server in self.servers]

    @property
    def url(self) -> Any:
        """The first of them."""
        return self.servers[0].url

    async def serve_forever(self) -> None:
        """Returns when the servers are closed; cancelled, it closes them."""
        try:
            await asyncio.gather(*[server.serve_forever() for server in self.servers])
        finally:
            await self.close()

    async def drain(
        self, deadline: float = limits.EVENTS_DRAIN_S, *, retry_s: float = 0.5, jitter_s: float = 2.0
    ) -> None:
        """Ends without a loss, within `deadline` seconds: clients are told to come back after `retry_s` and a random
        share of `jitter_s`; handlers that are at work end and are acknowledged.
        """  # fmt: skip
        if self._closing:  # others may serve the app
            return
        app = self.app
        app.draining = True
        frame = envelope.goaway(int(retry_s * 1000), int(jitter_s * 1000))
        links = list(app.links)
        for link in links:
            link.go_away(frame)
        try:
            async with asyncio.timeout(deadline):
                while tasks := app.busy():
                    await asyncio.wait(tasks)
                await asyncio.gather(*[link.left() for link in links])
        except TimeoutError:
            pass
        await self.close(grace=min(deadline, limits.CLOSE_GRACE_S))

    async def close(self, grace: float = limits.CLOSE_GRACE_S) -> None:
        """Closes the servers and every connection; what is being handled is cut off. Idempotent."""
        if self._closing:
            return
        self._closing = True
        if self.app.is_served_once:  # others may still serve it
            for link in list(self.app.links):
                link.cut(CloseCode.GOING_AWAY, "the server is closing")
        try:
            await asyncio.gather(*[server.close(grace) for server in self.servers])
        finally:
            await self.app.stop()
            self.app.draining = False  # others that serve it let clients in again

    async def __aenter__(self) -> Serving:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _begin(app: Events, urls: tuple[str, ...], options: dict[str, Any]) -> Serving:
    for url in urls:
        if parse(url).scheme == "udp":
            raise UnsupportedDelivery(f"{url}: events need a scheme that is reliable and ordered, such as rudp://")
    await app.start()
    serving = Serving(app)
    try:
        for url in urls:
            made = await transport.serve(url, protocol=functools.partial(Link, app), codec="raw", **options)
            serving.servers.append(made)
    except BaseException:
        await serving.close(grace=0)
        raise
    return serving


def serve(app: Events, urls: tuple[str, ...], options: dict[str, Any]) -> Opening[Serving]:
    """See `Events.serve`. Raises LocalProtocolError for options that this layer sets itself."""
    if not urls:
        raise LocalProtocolError("serve needs a URL, such as 'tcp://127.0.0.1:0'")
    if "workers" in options:
        raise LocalProtocolError(
            "events can't be served by several processes (workers): who is in a room is known to one process alone, "
            "and one process writes the log"
        )
    taken = {"protocol", "handler", "machine", "codec", "framing"} & set(options)
    if taken:
        raise LocalProtocolError(f"events choose {', '.join(sorted(taken))} themselves")
    return Opening(functools.partial(_begin, app, urls, {**OPTIONS, **options}), "app.serve(...)")
