"""The suite itself: it finds what is broken, says what, and is called as its documentation shows."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

import transport
from transport import testing
from transport.contract import base, suite
from transport.contract.base import Arena, Check
from transport.transports.memory import MemoryTransport

NUMBERS = itertools.count()


def url(query: str = "") -> str:
    return f"memory://suite-{next(NUMBERS)}{query}"


class Boasting(MemoryTransport):
    """Declares what it does not give, or hides what it does."""

    def __init__(self, **declared: Any) -> None:
        self.declared = declared

    def traits(self, request: Any) -> Any:
        return replace(super().traits(request), **self.declared)

    async def connect(self, request: Any) -> Any:
        return await super().connect(self._boast(request))

    async def listen(self, request: Any) -> Any:
        return await super().listen(self._boast(request))

    def _boast(self, request: Any) -> Any:
        inner = request.owner

        def owner(session: Any, driver: Any, info: Any) -> Any:
            info.traits = replace(info.traits, **self.declared)
            return inner(session, driver, info)

        return replace(request, owner=owner)


def check_of(name: str, **declared: Any) -> Any:
    registry = transport.Registry.default().register(Boasting(**declared))
    query = declared.pop("query", "")
    return testing.check_transport(lambda: url(query), registry=registry, only=[name], timeout=5.0)


def test_names_are_unique_and_every_check_says_what_it_promises():
    checks = testing.contract_checks()
    assert len(checks) >= 60
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.promise.endswith("."), check.name
        assert "\n" not in check.promise, check.name


def test_as_the_documentation_shows():
    names = ["ping", "delivery[RELIABLE_ORDERED]"]
    run = testing.run(testing.check_transport(url, only=names))
    assert sorted(run) == sorted(names)
    left = [check.name for check in testing.contract_checks() if check.name != "ping"]
    assert testing.run(testing.check_transport(url, skip=left)) == ["ping"]


def test_an_unknown_name_is_an_error():
    for arguments in ({"only": ["pong"]}, {"skip": ["pong"]}):
        with pytest.raises(LookupError, match="no check is called pong; there are "):
            testing.run(testing.check_transport(url, **arguments))


BOASTS: Mapping[str, Any] = {
    "delivery[RELIABLE_ORDERED]": ({"reliable": False, "ordered": False}, None),
    "channel_range": ({"channels": 7}, r"channel\(7\) of 7: expected UnsupportedOperation, but nothing was raised"),
    "traits": ({"channels": 0}, "traits.channels|channels is 0"),
    "every_size": ({"max_message": 100}, "traits.max_message is 100, but 131072 bytes are taken"),
}


@pytest.mark.parametrize("name", [name for name, (_, text) in BOASTS.items() if text])
def test_a_wrong_declaration_is_found(name: str):
    declared, text = BOASTS[name]
    with pytest.raises(AssertionError, match=text) as caught:
        testing.run(check_of(name, **declared))
    assert str(caught.value).startswith(f"{name}: ")
    assert "(the promise: " in str(caught.value)


def test_a_link_that_alters_is_found():
    with pytest.raises(AssertionError, match="delivery.UNRELIABLE.: "):
        testing.run(testing.check_transport(lambda: url("?corrupt=0.2&seed=3"), only=["delivery[UNRELIABLE]"]))


def test_a_link_that_doubles_is_found():
    with pytest.raises(AssertionError, match="messages came twice"):
        testing.run(testing.check_transport(lambda: url("?duplicate=0.2&seed=3"), only=["delivery[UNRELIABLE]"]))


def run_one(body: Any, timeout: float = 1.0) -> None:
    """Runs `body` as a check."""
    testing.run(Check("mine", "It holds.", body).run(Arena(url), timeout))


def test_a_check_that_hangs_says_where():
    async def inner() -> None:
        await asyncio.get_running_loop().create_future()

    async def hangs(arena: Arena) -> None:
        await inner()

    with pytest.raises(AssertionError, match=r"mine: no end after 1 s, waits in hangs:\d+ > inner:\d+\n"):
        run_one(hangs)


def test_tasks_left_behind_are_found():
    left: list[Any] = []

    async def leaves(arena: Arena) -> None:
        left.append(asyncio.ensure_future(asyncio.sleep(3600)))

    with pytest.raises(AssertionError, match="mine: tasks are left behind"):
        run_one(leaves)


def test_errors_told_to_the_loop_are_found():
    async def tells(arena: Arena) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "something odd"})

    with pytest.raises(AssertionError, match="mine: the loop was told of errors: .*something odd"):
        run_one(tells)


def test_any_other_error_is_a_failure_too():
    async def fails(arena: Arena) -> None:
        raise KeyError("x")

    with pytest.raises(AssertionError, match="mine: KeyError: 'x'\n.the promise: It holds."):
        run_one(fails)


def test_need_same_raises():
    with pytest.raises(base.Broken, match="it: expected 1, got True"):
        base.same(True, 1, "it")
    with pytest.raises(base.Broken, match="it: expected KeyError, but nothing was raised"):
        with base.raises(KeyError, "it"):
            pass
    with pytest.raises(base.Broken, match="it: expected KeyError or OSError, got ValueError: x"):
        with base.raises((KeyError, OSError), "it"):
            raise ValueError("x")
    assert base.shown("x" * 200).endswith("(202 characters)")


def test_every_area_is_part_of_the_suite():
    modules = {check.body.__module__.rpartition(".")[2] for check in testing.contract_checks()}
    assert modules == {area.__name__.rpartition(".")[2] for area in suite.AREAS}
