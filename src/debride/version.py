"""The version, alone in a module: what writes it down imports nothing else of the package's face."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("debride")
except PackageNotFoundError:  # the source on the path, without an installation
    __version__ = "0+unknown"

AUDIT_RESULTS = "0.1.0"
"""What results of an audit mean, as the first version that they mean this. An audit of a version with the same one goes on.

Change it where the same label and prediction come to other numbers, so that none is mixed with those of before."""
