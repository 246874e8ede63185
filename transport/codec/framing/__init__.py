"""How messages are cut from a byte pipe, when the peer does not speak our own framing."""
