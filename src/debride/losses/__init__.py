"""Losses as pure functions: per pixel, per image, and what reduces and selects among them."""
