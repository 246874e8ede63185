"""The durable log below the events layer: streams with offsets, sessions, receipts.

`MemoryLog` keeps them in memory, `SQLiteLog` in a file. `import transport` does not bring any of it.
"""

from __future__ import annotations
