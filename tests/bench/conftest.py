"""The benchmark pins processes and reads /proc: its tests are for Linux."""

import sys

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]
