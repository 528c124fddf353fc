"""Makes tests/training_helpers.py importable, by the tests and by the processes that they start."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# A shell's background job ignores Ctrl-C, and so would the processes that the tests start to interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)
