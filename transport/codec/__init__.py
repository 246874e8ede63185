"""Presentation: messages to bytes and back (codecs), and bytes cut into messages (framings)."""
