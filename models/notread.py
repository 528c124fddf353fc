"""What a training script saves beside the weights, which is never called, built or used."""

from __future__ import annotations


class NotRead:
    """Stands for what was saved beside the weights (OPAQUE): nothing is called, built or kept."""


# Saved as they are by public training code: its options, its best loss, its folder, its counters. Only their
# names are known here; what the pickle gives them is dropped.
OPAQUE = frozenset(
    (
        ("argparse", "Namespace"),
        ("easydict", "EasyDict"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *(
            (f"numpy.{core}.multiarray", what)
            for core in ("core", "_core")
            for what in ("scalar", "_reconstruct")
        ),
        *(("pathlib", f"{kind}Path") for kind in ("Posix", "PurePosix", "Windows", "PureWindows")),
        ("collections", "defaultdict"),
        ("collections", "Counter"),
        ("_codecs", "encode"),
    )
)
