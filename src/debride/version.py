"""The version, alone in a module: what writes it down imports nothing else of the package's face."""

__version__ = "0.1.0"
