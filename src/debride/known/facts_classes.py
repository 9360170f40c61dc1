"""What is known of public sets of images that have one class each."""

from __future__ import annotations

from debride.known.known_set import KnownSet

CLASSES: tuple[KnownSet, ...] = ()
