"""help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from getgan.errors import UsageError

PAGES = Path(__file__).resolve().parents[1] / "docs"


def print_page(
    page: Annotated[str | None, typer.Argument(help="Its name; without one, all names.")] = None,
) -> None:
    """Print a page of the manual, like `getgan help running`."""
    names = sorted(path.stem for path in PAGES.glob("*.md"))
    if page is None:
        print("\n".join(names))
    elif page in names:
        print((PAGES / f"{page}.md").read_text(encoding="utf-8"), end="")
    else:
        raise UsageError(f"found no page {page!r:.40}; wanted one of {', '.join(names)}")
