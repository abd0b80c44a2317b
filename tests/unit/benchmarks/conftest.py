"""The benchmark is not part of the distribution: tests import it from the root of the repository."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[3])

if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
