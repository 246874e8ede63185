"""Floor 2: raw datagrams as message sessions, one for each peer address, without sockets or clocks."""
