"""`python -m getgan` is the same as the `getgan` command."""

from getgan.cli import main

if __name__ == "__main__":
    main()
