"""A GET-GAN checkpoint with random weights: as large and as slow as a trained one, and made in a second."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from getgan.contract import MAX_SIZE
from getgan.errors import UsageError
from getgan.models.checkpoint import Checkpoint, Provenance, save_checkpoint
from getgan.models.getgan import GetGanConfig, GetGanGenerator

# Untouched, a random net's pictures are noise at full contrast: its bf16 passes the gate by a hair (45.2 dB,
# wanted 45) and its fp16 does not. At 0.3 both pass with room (52.5 and 62.9 dB), as trained nets' do. The
# weights' values change no time.
LAST_LAYER_SCALE = 0.3
MIN_SIZE = 32  # pixels: below, the gate's test pictures have no room


def write_untrained(path: Path, *, ngf: int, size: int, seed: int = 0) -> str:
    """Write a GET-GAN as large as a ResNet-9 of this ngf, for size x size pixels; what it is, in words.

    UsageError for a size or ngf that cannot be.
    """
    if size % 4 or not MIN_SIZE <= size <= MAX_SIZE:
        raise UsageError(f"found size {size}; wanted a multiple of 4 from {MIN_SIZE} to {MAX_SIZE}")
    config = GetGanConfig(ngf=ngf)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = GetGanGenerator(config)
    last = [module for module in generator.fake if isinstance(module, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight.mul_(LAST_LAYER_SCALE)
    about = (
        f"untrained GET-GAN, ngf {ngf}, {config.shared_blocks} + {config.branch_blocks} blocks, "
        f"{size}x{size}, random weights (seed {seed}), last layer scaled by {LAST_LAYER_SCALE}"
    )
    provenance = Provenance(trained_on="nothing", seed=seed, notes=about)
    save_checkpoint(
        Checkpoint("getgan", config, generator.state_dict(), generator.contract(size), provenance), path
    )
    return about


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m getgan.benchmarks.untrained FILE`, for `make bench`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--size", type=int, default=256)
    asked = parser.parse_args(arguments)
    print(write_untrained(asked.file, ngf=asked.ngf, size=asked.size))


if __name__ == "__main__":
    main()
