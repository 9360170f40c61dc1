"""What is known of public sets of volumes."""

from __future__ import annotations

from debride.known.known_set import KnownSet

VOLUMES: tuple[KnownSet, ...] = ()
