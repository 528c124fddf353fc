"""`getgan` and `python -m getgan`: from here on, Ctrl-C ends it with one word and exit code 130."""

import sys


def main() -> None:
    """Import the command line and run it."""
    try:
        from getgan.cli import main as run

        run()
    except KeyboardInterrupt:
        print("getgan: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
