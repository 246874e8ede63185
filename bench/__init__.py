"""Compares message transports on real sockets and says what each one costs.

Lives beside the package, not inside it: it may import `transport` only through its public names, as any user does, so
that a figure is what a user gets. See `bench/README.md` for the rules that make a figure valid.
"""
