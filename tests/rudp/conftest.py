"""What tests of reliable UDP share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rudp.by_hand import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A server, with a client that has to be served as ever when the test is over."""
    made = Rig()
    yield made
    made.check_honest()
