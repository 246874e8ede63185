"""A server with one room, in which is whoever connects: ours over any scheme, and python-socketio's.

Both put a client into the room themselves, so that what connects has nothing to say but what its protocol begins with.
It must never have more set away from the defaults than is said here.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

from typing import Any

NAMESPACE, ROOM, EVENT = "/bench", "room", "said"
SOCKETIO = "python-socketio"
MARK = b"<bench!>"  # once in every event: what receives counts it, whatever is around it
UNLIMITED_PER_S = 1e9
SOCKETIO_PING_S = 600


def text_of(size: int) -> str:
    """What an event carries: `size` bytes with the mark in front."""
    return MARK.decode() + "x" * (size - len(MARK))


class OurRoom:
    """`transport.events` over one scheme.

    Args:
        scheme: "ws", "tcp", "rudp".
        raw: whoever connects answers no pings and joins no room: the server has no keep-alive, and puts it in.
        history: how much of the room is kept, as arguments of `History`; its defaults otherwise.
    """

    def __init__(self, scheme: str, raw: bool = True, history: dict[str, Any] | None = None) -> None:
        self.scheme = scheme
        self.raw = raw
        self.history = history or {}

    def begin(self) -> Any:
        """Makes the app. Clients are let in as fast as they come, until `limit`."""
        from transport.events import Events, History

        self.app = Events(resumes_per_s=UNLIMITED_PER_S)
        self.chat = self.app.namespace(NAMESPACE, history=History(**self.history))
        if self.raw:
            self.chat.connected(self._enter)
        self._emit = self.chat.to(ROOM).emit
        return self.app

    async def serve(self) -> str:
        """Begins; returns the URL."""
        options = {"keepalive": None, "idle_timeout": None} if self.raw and self.scheme != "rudp" else {}
        self._serving = await self.begin().serve(f"{self.scheme}://127.0.0.1:0", **options)
        return str(self._serving.url)

    async def _enter(self, ctx: Any) -> None:
        await ctx.join(ROOM)

    @property
    def members(self) -> int:
        """Those who are connected and in the room."""
        return len(self.chat.to(ROOM).members)

    async def emit(self, data: Any) -> None:
        """One event to everybody in it."""
        await self._emit(EVENT, data)

    def limit(self) -> None:
        """From now on clients are let in as the defaults have it, as if none had come for a while."""
        from transport import limits
        from transport.events.door import Door

        self.app.door = Door(limits.EVENTS_RESUMES_PER_S)

    def cut(self) -> int:
        """Closes all sockets in one turn of the loop, without a word; returns how many."""
        links = list(self.app.links)
        for link in links:
            link.conn.abort()
        return len(links)

    def statistics(self) -> dict[str, int]:
        """Of the app."""
        return self.app.statistics()

    def build(self) -> dict[str, str]:
        """What is measured."""
        import transport

        return {"transport": "compiled" if transport.compiled else "INTERPRETED"}


class SocketIoRoom:
    """`socketio.AsyncServer` in aiohttp, WebSocket only, events one after the other.

    Its ping comes so late that none falls into a run: what receives answers none.
    """

    async def serve(self) -> str:
        """Begins; returns the URL."""
        import socketio
        from aiohttp import web

        self.server = server = socketio.AsyncServer(
            async_mode="aiohttp", transports=["websocket"], async_handlers=False, ping_interval=SOCKETIO_PING_S
        )

        async def connect(sid: str, environ: Any, auth: Any = None) -> None:
            del environ, auth
            await server.enter_room(sid, ROOM)

        server.on("connect", connect)
        app = web.Application()
        server.attach(app)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    @property
    def members(self) -> int:
        """Those in the room."""
        return len(self.server.manager.rooms.get("/", {}).get(ROOM, ()))

    async def emit(self, data: Any) -> None:
        """One event to everybody in it."""
        await self.server.emit(EVENT, data, room=ROOM)

    def build(self) -> dict[str, str]:
        """What is measured."""
        from bench.peers.socketio import PEERS

        return PEERS[0].versions()


def make(config: dict[str, Any]) -> Any:
    """The room of `config["peer"]`: "python-socketio", or one of our schemes."""
    if config["peer"] == SOCKETIO:
        return SocketIoRoom()
    return OurRoom(config["peer"], config.get("raw", True), config.get("history"))
