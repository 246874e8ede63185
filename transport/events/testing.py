"""A kit that runs an app and its clients in virtual time, and breaks what can break between them.

    async def scenario(kit):
        client = await kit.client(namespace="/chat")
        await client.join("room:7")
        kit.half_open(client)
        await kit.advance("10s")

    app.test(seed=7).run(scenario)

Everything lies in one process on a simulated loop: an hour takes as long as its work does, and the same seed gives the
same run. It must never wait for real time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import transport
from transport import limits
from transport.events.connect import EventsClient, connect_events
from transport.events.serving import Serving
from transport.log.memory import MemoryLog
from transport.log.records import Stream as Name
from transport.options import duration
from transport.testing import run

if TYPE_CHECKING:
    from transport.events.app import Events

NAME = "events-under-test"
NOTICED_S = limits.IDLE_NS / limits.SECOND_NS  # until a server gives up a connection that nobody answers on
START_MS = 1_700_000_000_000  # of the simulated wall clock
_seconds = duration(0.0, limits.TIME_S_MAX)


class Kit:
    """Made by `Events.test`.

    Args:
        app: its log is replaced by one in virtual time if it is a `MemoryLog`.
        seed: of everything random.
        link: options of `memory://` for the connections between them; "delay=5ms&loss=0.05&rudp=true" is reliable UDP
            over a link that loses every twentieth datagram.

    Attributes:
        random: for the scenario's own choices.
        serving: the app, while it serves.
        serve_options: of `Events.serve`.
    """

    def __init__(self, app: Events, seed: int = 0, link: str = "delay=1ms") -> None:
        self.app = app
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311
        self.serving: Serving | None = None
        self.serve_options: dict[str, Any] = {}
        self._clients: list[EventsClient] = []
        self._ghosts: list[Any] = []
        self._url = f"memory://{NAME}?{link}"

    def run(self, scenario: Callable[[Kit], Awaitable[Any]]) -> Any:
        """Runs `await scenario(kit)` to its end, in virtual time; returns what it does."""
        return run(self._main(scenario), seed=self.seed)

    async def _main(self, scenario: Callable[[Kit], Awaitable[Any]]) -> Any:
        loop: Any = asyncio.get_running_loop()
        app = self.app
        entropy = loop.entropy("events")
        if isinstance(app.log, MemoryLog):
            app.log = MemoryLog(history=app.log._default, clock=self.wall_ms, entropy=loop.entropy("log"))
        app.use_time(self.wall_ms, entropy, self.random.randrange(1 << 30))
        async with app.log:
            self.serving = await app.serve(self._url, **self.serve_options)
            try:
                return await scenario(self)
            finally:
                for client in self._clients:
                    await client.close(grace=0)
                for ghost in self._ghosts:
                    ghost.abort()
                if self.serving is not None:
                    await self.serving.close(grace=0)

    def wall_ms(self) -> int:
        """The wall clock of the simulated world."""
        loop: Any = asyncio.get_running_loop()
        return START_MS + int(loop.time_ns() // limits.MS_NS)

    # Who takes part

    async def client(self, **options: Any) -> EventsClient:
        """A connected client; options as of `connect_events`. It comes back by itself."""
        backoff = transport.Backoff(initial=0.05, maximum=2.0, random=self.random.random)
        options = {"reconnect": backoff, **options}
        client = await connect_events(self._url, **options)
        self._clients.append(client)
        return client

    async def advance(self, time: float | str) -> None:
        """Lets so much time pass: seconds, or text such as "10s"."""
        await asyncio.sleep(_seconds(time))

    # What breaks

    def drop(self, client: EventsClient) -> None:
        """Cuts a client's connection; both ends see it."""
        wire = client.wire
        if wire is not None and wire.conn is not None:
            wire.conn.abort()

    def half_open(self, client: EventsClient) -> None:
        """The client loses its connection, and the server does not notice for half a minute."""
        wire = client.wire
        if wire is not None and wire.conn is not None:
            conn = wire.conn
            self._ghosts.append(conn)
            client.lose_wire()
            conn.loop.call_later(NOTICED_S, conn.abort)

    def partition(self, client: EventsClient) -> None:
        """The same, and no new connection comes about until `heal`."""
        client.url = "memory://nobody-is-there"
        self.half_open(client)

    def heal(self, client: EventsClient) -> None:
        """Ends a partition."""
        client.url = self._url

    async def crash(self) -> None:
        """The server's process ends in the middle of what it does; what the log has acknowledged is there."""
        serving, self.serving = self.serving, None
        if serving is not None:
            for link in list(self.app.links):
                link.conn.abort()
            await serving.close(grace=0)

    async def start(self) -> None:
        """The server is started again."""
        if self.serving is None:
            self.serving = await self.app.serve(self._url, **self.serve_options)

    async def restart(self, after: float | str = 0.0) -> None:
        """`crash`, time, `start`."""
        await self.crash()
        await self.advance(after)
        await self.start()

    async def trim(self, room: str, before: int, namespace: str = "/") -> int:
        """The log forgets a room's events below an offset; returns how many."""
        return await self.app.log.trim(Name(namespace, room), before)

    async def lose(self, room: str, namespace: str = "/") -> None:
        """The log loses a room altogether: it has a new epoch from then on."""
        await self.app.log.drop(Name(namespace, room))
