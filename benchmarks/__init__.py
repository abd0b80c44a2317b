"""The benchmark: what a request costs through twemproxy, nutcracker and haproxy, as ratios of one run.

It uses the process library of the package (src) and the harness of the tests (tests), whatever PYTHONPATH is.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path += [folder for name in ("src", "tests") if (folder := str(_ROOT / name)) not in sys.path]
