"""Reliable UDP: the project's own protocol of messages over datagrams. Sans-IO: no socket, no clock, no randomness."""
