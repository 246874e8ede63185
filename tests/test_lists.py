"""Lists that keep their memory."""

import pytest

from transport.lists import pop_last


def test_takes_the_last_entry_and_refuses_an_empty_list() -> None:
    items = [1, 2]
    assert pop_last(items) == 2
    assert items == [1]
    assert pop_last(items) == 1
    with pytest.raises(IndexError):
        pop_last(items)
