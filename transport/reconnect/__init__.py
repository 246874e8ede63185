"""Connections that come back by themselves: `connect(url, reconnect=Backoff())`."""

from transport.reconnect.backoff import COMES_BACK, Backoff, Change, State, States
from transport.reconnect.connection import Reconnecting
from transport.reconnect.row import ReconnectingChannel

__all__ = ["COMES_BACK", "Backoff", "Change", "Reconnecting", "ReconnectingChannel", "State", "States"]
