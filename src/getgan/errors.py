"""Every error getgan raises on purpose.

GetganError
├── CheckpointError   a model file that is missing, damaged, or not what was asked for
├── ConfigError       an option, a network setting or an image size that cannot work
│   └── UsageError    an option's value that no file and no machine could make right: exit code 2
├── DataError         an image, a folder or a data set that cannot be used
├── TrainingError     a run that diverged, collapsed, or cannot be resumed
├── ExportError       a generator that cannot become a graph, or no graph of which looks like it
├── BundleError       a bundle that is missing, damaged, altered, or of a later version
├── DeviceError       a device, backend or precision that was asked for and cannot run here
└── OutputError       a file that could not be written (disk full, no permission)

A message says what was found, what was wanted, and the next command.
"""

from __future__ import annotations


class GetganError(Exception):
    """Base of all errors that the command line turns into one line and an exit code."""


class CheckpointError(GetganError):
    """A model file is missing, damaged, or not what was asked for."""


class ConfigError(GetganError):
    """An option, a network setting or an image size cannot work."""


class UsageError(ConfigError):
    """An option has a value that it never takes, like --precision int7: the command line's exit code 2."""


class DataError(GetganError):
    """An image, a folder or a data set cannot be used."""


class TrainingError(GetganError):
    """A training run diverged, collapsed, or cannot be resumed."""


class ExportError(GetganError):
    """A generator cannot become a graph, or the graph does not give the generator's pictures."""


class BundleError(GetganError):
    """A bundle is missing, damaged, altered, or of a later version."""


class DeviceError(GetganError):
    """A device, backend or precision that was asked for cannot run here, or runs wrongly."""


class OutputError(GetganError):
    """A file could not be written; what stood there before is untouched."""
