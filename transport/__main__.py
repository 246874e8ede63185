"""`python -m transport` is the `transport` command, for where the console script is not on the path."""

from __future__ import annotations

import sys

from transport.cli import main

if __name__ == "__main__":
    sys.exit(main())
