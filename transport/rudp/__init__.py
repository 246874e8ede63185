"""Reliable UDP: the project's own protocol of messages over datagrams. It knows no socket, no clock and no randomness."""
