"""A game's two kinds of talk on one connection: positions, of which the newest counts, and chat, which must arrive.

Positions go sequenced on channel 1: one that is lost is not sent again, the next is better; one that comes late is
dropped. Chat goes ordered on channel 2, and never waits for a position.

python examples/game_state.py                                   a server and three players, over a link that loses 10 %
python examples/game_state.py serve rudp://0.0.0.0:7000
python examples/game_state.py play rudp://HOST:7000 NAME
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import transport
from transport import Delivery
from transport.testing import run

TICK_S = 0.02  # fifty states a second
POSITIONS, CHAT = 1, 2
LOSSY = "memory://game?rudp=true&loss=0.1&delay=30ms&jitter=15ms&jitter_reorders"


def positions(conn: transport.Connection) -> transport.Channel:
    """Newest wins: what is older than something that came is dropped."""
    return conn.channel(POSITIONS, delivery=Delivery.UNRELIABLE_SEQUENCED)


def chat(conn: transport.Connection) -> transport.Channel:
    """Everything arrives, in order; before positions when there is little room."""
    return conn.channel(CHAT, delivery=Delivery.RELIABLE_ORDERED, priority=4)


class Game:
    """Who is where. `serve(url, game.handle)` opens it."""

    def __init__(self) -> None:
        self.where: dict[str, list[float]] = {}
        self.players: dict[str, transport.Connection] = {}

    async def handle(self, conn: transport.Connection) -> None:
        """One player, from its name to its end."""
        places, lines = positions(conn), chat(conn)  # before the first recv(), which would else give out theirs too
        name = str(await conn.recv())
        self.players[name] = conn
        moving = asyncio.create_task(self.move(name, places))
        telling = asyncio.create_task(self.tell(conn))
        try:
            async for text in lines:
                for other in list(self.players.values()):
                    chat(other).send_nowait([name, text])
        finally:
            moving.cancel()
            telling.cancel()
            self.players.pop(name, None)
            self.where.pop(name, None)

    async def move(self, name: str, places: transport.Channel) -> None:
        """Takes where a player says it is; what arrives is never older than what is known."""
        async for place in places:
            self.where[name] = place

    async def tell(self, conn: transport.Connection) -> None:
        """Tells a player where everybody is, fifty times a second; unreliable messages never wait."""
        number = 0
        while True:
            await positions(conn).send([number, self.where], expires=2 * TICK_S)
            number += 1
            await asyncio.sleep(TICK_S)


class Player:
    """One player.

    Attributes:
        states: numbers of the states that came.
        heard: what was said.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.states: list[int] = []
        self.world: dict[str, list[float]] = {}
        self.heard: list[Any] = []

    async def play(self, url: Any, seconds: float, says: list[str]) -> dict[str, int]:
        """Runs about for a while and says its lines; returns what the connection counted."""
        async with transport.connect(url) as conn:
            await conn.send(self.name)
            watching = asyncio.create_task(self.watch(conn))
            listening = asyncio.create_task(self.listen(conn))
            lines = list(says)
            for step in range(round(seconds / TICK_S)):
                await positions(conn).send([step * 0.1, len(self.name) * 1.0])
                if lines and step % 10 == 0:
                    await chat(conn).send(lines.pop(0))
                await asyncio.sleep(TICK_S)
            watching.cancel()
            listening.cancel()
            counters: dict[str, int] = conn.statistics().counters
            return counters

    async def watch(self, conn: transport.Connection) -> None:
        """Takes states; a game would draw them."""
        async for number, world in positions(conn):
            self.states.append(number)
            self.world = world

    async def listen(self, conn: transport.Connection) -> None:
        """Takes what is said."""
        async for line in chat(conn):
            self.heard.append(line)


async def demo() -> None:
    """Three players, four seconds, in virtual time."""
    async with transport.serve(LOSSY, Game().handle) as server:
        players = [Player(name) for name in ("ada", "bob", "cyd")]
        says = [f"line {number}" for number in range(15)]
        counted = await asyncio.gather(*(player.play(server.url, 4.0, says) for player in players))
    for player, counters in zip(players, counted, strict=True):
        states = player.states
        in_order = states == sorted(set(states))
        share = len(states) / (states[-1] + 1)
        mine = [text for name, text in player.heard if name == player.name]
        print(f"{player.name} saw {share:.0%} of the states, {'none' if in_order else 'some'} older than one before")
        print(f"{player.name} heard {len(player.heard)} lines, its own {'whole' if mine == says else 'not whole'}")
        print(f"{player.name}'s packets were lost: {counters['packets_lost'] > 0}")


async def serve(url: str) -> None:
    """Serves until it is interrupted."""
    async with transport.serve(url, Game().handle) as server:
        print("serving", server.url)
        await server.serve_forever()


async def play(url: str, name: str) -> None:
    """Plays for ten seconds."""
    player = Player(name)
    await player.play(url, 10.0, ["hello"])
    print(f"{len(player.states)} states, heard {player.heard}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run(demo(), seed=7)
        case ["serve", url]:
            transport.run(serve(url))
        case ["play", url, name]:
            transport.run(play(url, name))
        case _:
            sys.exit(__doc__)
