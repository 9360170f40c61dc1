"""debride: train on imperfect labels of medical images, find the wrong ones, and measure what helps."""

__version__ = "0.1.0"
