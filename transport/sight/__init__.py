"""What was on the wire, made readable: capture files, headers, our packets and connections, traces, pictures.

For `transport inspect` and for the benchmark's recordings. Nothing here takes part in a connection, and nothing a
program imports on its own account stands on it.
"""
