"""A foreign wire on the event core: as much of Engine.IO 4 and Socket.IO 5 as shows that an adapter finds all it needs.

CONNECT, EVENT, ACK and DISCONNECT over long polls and WebSocket, the upgrade from one to the other, ping and pong,
connection state recovery (`pid` and `offset`). The cursor of a client is what JOINED told of each of its streams, with
the offset that it has: an opaque string behind each event, and in a hidden event of its own behind CONNECT.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

import transport
from transport import CloseCode, ConnectionClosed, HttpRequest, HttpResponse, MsgpackCodec, SocketRoute, Traits
from transport.events import Events, envelope
from transport.events.wire import Translated

CURSOR = "\0cursor"  # the hidden event
GAP = "\0gap"
MARK = 1 << 30  # the request whose answer says that all streams are entered
PACKET = re.compile(r"(\d)(?:(/[^,]*),)?(\d+)?(.*)", re.DOTALL)
TRAITS = Traits(reliable=True, ordered=True)
CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
_codec = MsgpackCodec()


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def pack(value: Any) -> str:
    return base64.urlsafe_b64encode(_codec.encode(value)).decode()


def unpack(text: str) -> Any:
    return _codec.decode(base64.urlsafe_b64decode(text))


def translated(record: Any) -> tuple[Any, str]:
    """The record itself, and of what many get the beginning of a packet's array."""
    if isinstance(record, envelope.Event | envelope.Volatile | envelope.Call):
        return record, f"[{dump(record.name)},{dump(record.data)}"
    return record, ""


class Adapter:
    """All foreign clients of one app. Mount `route` at "/socket.io/".

    Args:
        app: that they are clients of.
        budget: bytes that wait for one client; above, it reads the log.
        ping_s: between two pings.
    """

    def __init__(self, app: Events, budget: int = 65_536, ping_s: float = 25.0) -> None:
        self.app = app
        self.budget = budget
        self.ping_s = ping_s
        self.engines: dict[str, Engine] = {}
        self.translated = Translated(translated)
        self.route = SocketRoute(lambda: Socket(self), self.http)

    async def http(self, asked: HttpRequest) -> HttpResponse:
        """A long poll, a post, or a browser's question whether it may."""
        if asked.method == "OPTIONS":
            return HttpResponse(status=204, headers=CORS)
        query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
        sid = query.get("sid")
        engine = self.engines.get(sid or "")
        if query.get("EIO") != "4" or query.get("transport") != "polling" or (sid and engine is None):
            return HttpResponse('{"code":0,"message":"bad request"}', 400, headers=CORS)
        if engine is None:
            engine = Engine(self, asked.remote_address)
            return HttpResponse("0" + engine.opening(["websocket"]), headers=CORS)
        if engine.socket is not None:
            return HttpResponse("upgraded", 400, headers=CORS)
        if asked.method == "POST":
            await engine.readable.wait()
            for packet in asked.body.decode().split("\x1e"):
                engine.receive(packet)
            return HttpResponse("ok", headers=CORS)
        return HttpResponse(await engine.poll(), headers=CORS)


class Engine:
    """One Engine.IO session: packets in order, over whatever carries them now."""

    def __init__(self, adapter: Adapter, address: Any) -> None:
        self.adapter = adapter
        self.address = address
        self.sid = secrets.token_hex(8)
        self.socket: Any = None
        self.wires: dict[str, SioWire] = {}
        self.readable = asyncio.Event()
        self.readable.set()
        self.waiting: deque[str] = deque()
        self.size = 0
        self.most = 0
        self.paused = False
        self._poll: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(adapter.ping_s, self._ping)
        self._heard = True
        adapter.engines[self.sid] = self

    def opening(self, upgrades: list[str]) -> str:
        ping_ms = int(self.adapter.ping_s * 1000)
        return dump({"sid": self.sid, "upgrades": upgrades, "pingInterval": ping_ms, "pingTimeout": ping_ms,
                     "maxPayload": 1_000_000})  # fmt: skip

    def _ping(self) -> None:
        if not self._heard:
            self.close()
            return
        self._heard = False
        self.send("2")
        self._timer = self._loop.call_later(self.adapter.ping_s, self._ping)

    # Out

    def send(self, packet: str) -> None:
        if self.socket is not None:
            self.socket.send_nowait(packet)
            return
        self.waiting.append(packet)
        self.size += len(packet)
        self.most = max(self.most, self.size)
        if self.size > self.adapter.budget and not self.paused:
            self.pause(True)
        self._wake()

    def pause(self, paused: bool) -> None:
        """Whether what comes is left in the log."""
        self.paused = paused
        for wire in list(self.wires.values()):
            (wire.link.pause_writing if paused else wire.link.resume_writing)()

    def _wake(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)

    async def poll(self) -> str:
        """What waits, at once or as soon as something does."""
        if self._poll is not None:
            self.close()
            return "1"
        if not self.waiting:
            self._poll = self._loop.create_future()
            try:
                await self._poll
            finally:
                self._poll = None
        body = "\x1e".join(self.waiting) or "6"
        self._taken()
        return body

    def _taken(self) -> None:
        self.waiting.clear()
        self.size = 0
        if self.paused:
            self._loop.call_soon(self.pause, False)

    def upgraded(self, socket: Any) -> None:
        self.socket = socket
        for packet in self.waiting:
            socket.send_nowait(packet)
        self._taken()
        self._wake()

    # In

    def receive(self, packet: str) -> None:
        self._heard = True
        kind, rest = packet[:1], packet[1:]
        if kind == "1":
            self.close()
        elif kind == "4":
            self._message(rest)

    def _message(self, text: str) -> None:
        found = PACKET.fullmatch(text)
        assert found is not None
        kind, name, number, body = found[1], found[2] or "/", found[3], json.loads(found[4] or "null")
        wire = self.wires.get(name)
        if kind == "0":
            wire = self.wires[name] = SioWire(self, name)
            wire.connecting = self._loop.create_task(wire.connect(body or {}))
        elif wire is None:
            self.close()
        elif kind == "1":
            wire.lost()
        elif kind == "2":
            wire.emit(body, number)
        elif kind == "3":
            wire.link.message_received(envelope.answer(int(number), True, body[0] if body else None), 0)

    def close(self) -> None:
        self._timer.cancel()
        self.adapter.engines.pop(self.sid, None)
        for wire in list(self.wires.values()):
            wire.lost()
        if self.socket is not None:
            self.socket.close_soon()
        self._wake()


class SioWire:
    """A client of one namespace, in the place of a connection below its link."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.remote_address = engine.address
        self.traits = TRAITS
        self.link = engine.adapter.app.attach(self)
        self.connecting: asyncio.Task[None] | None = None
        self.streams: dict[int, list[Any]] = {}  # claims, by alias
        self.calls: dict[int, str | None] = {}  # numbers of messages that are not settled, with what they are to it
        self.number = 0
        self.connected = False
        self.recovered = False
        self.due: set[int] = set()  # streams that are not caught up, of those that it was in
        self.marked = False  # all of those are entered
        self.session: envelope.Welcome | None = None
        self._prefix = "" if name == "/" else name + ","

    # From the client

    async def connect(self, auth: dict[str, Any]) -> None:
        pid, offset = auth.pop("pid", None), auth.pop("offset", None)
        session, secret, claims, generation = "", b"", [], 0
        if pid is not None and offset is not None:
            session, secret, _ = unpack(pid)
            claims = [envelope.Claim(*claim) for claim in unpack(offset)]
            known = await self.engine.adapter.app.log.get_session(session)
            generation = 1 if known is None else known.generation + 1
            self.recovered = True
        hello = envelope.Hello(self.name, auth, session, secret, generation, 0, claims)
        self.link.message_received(envelope.hello(hello), 0)

    def emit(self, body: list[Any], call: str | None) -> None:
        name, *arguments = body
        data = arguments[0] if len(arguments) == 1 else arguments or None
        self.number += 1
        self.calls[self.number] = call
        payload = envelope.payload(name, data)
        frame = envelope.message(self.number, min(self.calls), call is not None, payload)
        self.link.message_received(frame, 0)

    def lost(self) -> None:
        self.engine.wires.pop(self.name, None)
        if self.connecting is not None:
            self.connecting.cancel()
        self.link.connection_lost(None)

    # As a connection

    def send_nowait(self, message: bytes, *, delivery: Any = None) -> None:
        if self.engine.wires.get(self.name) is not self:
            raise ConnectionClosed(CloseCode.NORMAL, "the client is gone")
        record, text = self.engine.adapter.translated(message)
        getattr(self, f"_{type(record).__name__.lower()}")(record, text)

    async def flush(self) -> None:
        """Backlogs are bounded by the budget; nothing more is promised here."""

    def close_soon(self, code: int, reason: str) -> None:
        if self.engine.wires.get(self.name) is self:
            if self.connected:
                self._say("1")
            self.loop.call_soon(self.lost)

    def pause_reading(self) -> None:
        self.engine.readable.clear()

    def resume_reading(self) -> None:
        self.engine.readable.set()

    def get_extra_info(self, name: str) -> Any:
        return 1_000_000 if name == "max_message" else None

    # Frames of the server

    def _say(self, kind: str, text: str = "") -> None:
        self.engine.send(f"4{kind}{self._prefix}{text}")

    def _cursor(self) -> str:
        return pack(list(self.streams.values()))

    def _welcome(self, welcome: envelope.Welcome, _: str) -> None:
        self.session = welcome
        self.number = welcome.seen
        if self.recovered:
            self.link.message_received(envelope.leave(MARK, "all streams are entered"), 0)
        else:
            self._answer()

    def _answer(self) -> None:
        assert self.session is not None
        self.connected = True
        old = [self.session.session, self.session.secret, 1]
        pid = pack(old if self.recovered else [*old[:2], self.session.generation])
        self._say("0", dump({"sid": self.session.session[:20], "pid": pid}))

    def _refused(self, refused: envelope.Refused, _: str) -> None:
        if not self.connected:
            self._say("4", dump({"message": f"{refused.reason}: {refused.text}"}))

    def _joined(self, joined: envelope.Joined, _: str) -> None:
        self.streams = {alias: claim for alias, claim in self.streams.items() if claim[0] != joined.room}
        self.streams[joined.alias] = [joined.room, joined.epoch, joined.offset, joined.since, joined.by_client,
                                      joined.ticket]  # fmt: skip
        if self.connected:
            self._say("2", dump([CURSOR, self._cursor()]))
        elif joined.catching_up:
            self.due.add(joined.alias)

    def _settled(self, alias: int) -> None:
        """Answers, if that was the last one of the streams that it was in."""
        self.due.discard(alias)
        if self.marked and not self.due and not self.connected:
            self._answer()
            self._say("2", dump([CURSOR, self._cursor()]))

    def _left(self, left: envelope.Left, _: str) -> None:
        if left.request == MARK:
            self.marked = True
            self._settled(0)
        self.streams = {alias: claim for alias, claim in self.streams.items() if claim[0] != left.room}

    def _event(self, event: envelope.Event, text: str) -> None:
        self.streams[event.alias][2] = event.offset
        self._say("2", f'{text},"{self._cursor()}"]')

    def _volatile(self, event: envelope.Volatile, text: str) -> None:
        self._say("2", f'{text},"{self._cursor()}"]')

    def _advance(self, advance: envelope.Advance, _: str) -> None:
        self.streams[advance.alias][2] = advance.offset

    def _caughtup(self, caught_up: envelope.CaughtUp, _: str) -> None:
        self._settled(caught_up.alias)

    def _gap(self, gap: envelope.Gap, _: str) -> None:
        self.recovered = False
        if gap.alias in self.streams:
            self.streams[gap.alias][2] = gap.offset
        if self.connected:
            self._say("2", dump([GAP, gap.room, gap.lost]))
        self._settled(gap.alias)

    def _call(self, call: envelope.Call, text: str) -> None:
        self._say("2", f"{call.call}{text}]")

    def _reply(self, reply: envelope.Reply, _: str) -> None:
        call = self.calls.pop(reply.number, None)
        if call is not None:
            self._say("3", call + dump([reply.data if reply.ok else {"error": reply.data}]))

    def _ack(self, ack: envelope.Ack, _: str) -> None:
        settled = [number for number, call in self.calls.items() if call is None and number <= ack.contiguous]
        for number in settled:
            del self.calls[number]

    def _goaway(self, goaway: envelope.Goaway, _: str) -> None:
        """A Socket.IO client comes back by itself."""


class Socket(transport.Protocol):
    """A WebSocket of an Engine.IO session."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.engine: Engine | None = None
        self.conn: Any = None

    def connection_made(self, conn: Any) -> None:
        self.conn = conn
        query = parse_qs(conn.get_extra_info("query"))
        sid = query.get("sid", [""])[0]
        if query.get("EIO") != ["4"] or (sid and sid not in self.adapter.engines):
            conn.close_soon(CloseCode.POLICY, "bad request")
        elif sid:
            self.engine = self.adapter.engines[sid]
        else:
            self.engine = Engine(self.adapter, conn.remote_address)
            self.engine.socket = conn
            conn.send_nowait("0" + self.engine.opening([]))

    def message_received(self, message: Any, channel: int) -> None:
        assert self.engine is not None
        if message == "2probe":
            self.conn.send_nowait("3probe")
            self.engine._wake()  # the long poll that waits ends with a noop
        elif message == "5":
            self.engine.upgraded(self.conn)
        else:
            self.engine.receive(message)

    def pause_writing(self) -> None:
        if self.engine is not None:
            self.engine.pause(True)

    def resume_writing(self) -> None:
        if self.engine is not None:
            self.engine.pause(False)

    def connection_lost(self, error: Exception | None) -> None:
        if self.engine is not None and self.engine.socket is self.conn:
            self.engine.close()


class Client:
    """A client of that wire which shares no code with the adapter: packets as text, over polls or a WebSocket."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sid = ""
        self.packets: deque[str] = deque()
        self.pid = self.offset = ""
        self.missed: list[Any] = []
        self._ws: Any = None
        self._calls = 0

    async def _request(self, method: str, body: str = "") -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            path = f"/socket.io/?EIO=4&transport=polling&sid={self.sid}"
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body.encode())}\r\n"
            )
            writer.write(f"{head}\r\n{body}".encode())
            answer = (await reader.read()).decode()
        finally:
            writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 200"), answer
        return body

    async def polling(self) -> Client:
        """Opens a session of long polls."""
        self.sid = json.loads((await self._request("GET"))[1:])["sid"]
        return self

    async def websocket(self) -> Client:
        """Opens a session on a WebSocket, or moves the one of polls there."""
        url = f"ws://127.0.0.1:{self.port}/socket.io/"
        query = f"?EIO=4&transport=websocket&sid={self.sid}"
        self._ws = await transport.connect(url + query, codec="raw", text=True)
        if not self.sid:
            self.sid = json.loads((await self._ws.recv())[1:])["sid"]
            return self
        await self._ws.send(b"2probe")
        assert await self._ws.recv() == b"3probe"
        self.packets += [packet for packet in (await self._request("GET")).split("\x1e") if packet != "6"]
        await self._ws.send(b"5")
        return self

    async def _send(self, packet: str) -> None:
        if self._ws is None:
            assert await self._request("POST", packet) == "ok"
        else:
            await self._ws.send(packet.encode())

    async def packet(self) -> str:
        """The next one, pings answered."""
        while True:
            while not self.packets:
                if self._ws is None:
                    self.packets += (await self._request("GET")).split("\x1e")
                else:
                    self.packets.append((await self._ws.recv()).decode())
            packet = self.packets.popleft()
            if packet == "2":
                await self._send("3")
            elif packet != "6":
                return packet

    async def enter(self, **auth: Any) -> bool:
        """CONNECT; whether it is recovered. Events that come before the answer are kept in `missed`."""
        if self.pid:
            auth |= {"pid": self.pid, "offset": self.offset}
        await self._send(f"40/chat,{dump(auth)}")
        while True:
            packet = await self.packet()
            if packet.startswith("44"):
                raise PermissionError(packet)
            if packet.startswith("40"):
                pid = json.loads(packet.partition(",")[2])["pid"]
                recovered, self.pid = pid == self.pid, pid
                return recovered
            self._note(packet)

    def _note(self, packet: str) -> Sequence[Any] | None:
        """The arguments of an event, but for the cursor, as the client of that wire keeps it."""
        assert packet.startswith("42"), packet
        event = json.loads(packet.partition(",")[2])
        if isinstance(event[-1], str):
            self.offset = event.pop()
        if event[0] == CURSOR:
            return None
        self.missed.append(event)
        return event

    async def event(self) -> Any:
        """The next event that is not hidden, or the next call as (number, event)."""
        while True:
            packet = await self.packet()
            if packet == "41/chat,":
                raise ConnectionError("disconnected")
            call = re.match(r"42/chat,(\d+)(.*)", packet)
            if call is not None:
                return int(call[1]), json.loads(call[2])
            event = self._note(packet)
            if event is not None:
                return event

    async def emit(self, *event: Any) -> None:
        await self._send(f"42/chat,{dump(event)}")

    async def answer(self, number: int, data: Any) -> None:
        await self._send(f"43/chat,{number}{dump([data])}")

    async def ask(self, *event: Any) -> Any:
        """Emits with an acknowledgement; events on the way are kept in `missed`."""
        self._calls += 1
        await self._send(f"42/chat,{self._calls}{dump(event)}")
        while True:
            packet = await self.packet()
            found = re.match(rf"43/chat,{self._calls}(\[.*)", packet)
            if found is not None:
                return json.loads(found[1])[0]
            self._note(packet)

    def drop(self) -> None:
        """Goes without a word, as a phone does; the server has not noticed."""
        self.sid, self._ws_before, self._ws = "", self._ws, None
        self.packets.clear()
        self.missed.clear()
