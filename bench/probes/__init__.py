"""Figures that are no rounds: memory of many connections, a slow reader, import time. Each gives bars for a result."""
