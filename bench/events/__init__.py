"""The figures of the events layer, on real sockets but for one: fan-out, memory, a client that never reads, a storm.

`python -m bench events` runs them; each file but the four that are processes or what these share is one part.
"""
