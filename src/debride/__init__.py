"""debride: train on imperfect labels of medical images, find the wrong ones, and measure what helps."""

from debride.version import __version__

__all__ = ["__version__"]
