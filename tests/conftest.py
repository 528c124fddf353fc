"""Makes tests/training_helpers.py importable, by the tests and by the processes that they start."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
