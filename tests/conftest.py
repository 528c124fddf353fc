"""Makes the helpers importable, by the tests and by the processes that they start; gives them a cache."""

import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# A machine on which nothing ran yet, and no file in the home folder of who runs the tests. The processes of
# pytest-xdist inherit that of the one that starts them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="getgan-tests-")
    os.environ["XDG_CACHE_HOME"] = _cache.name

# A shell's background job ignores Ctrl-C, and so would the processes that the tests start to interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Under nohup they would ignore SIGHUP.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
