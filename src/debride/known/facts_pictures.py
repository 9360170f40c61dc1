"""What is known of public sets of pictures with masks, and of the set that is made here."""

from __future__ import annotations

from debride.known.known_set import KnownSet

PICTURES: tuple[KnownSet, ...] = ()
