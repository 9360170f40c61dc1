"""Losses as pure functions of tensors: per pixel, per region, between networks, and what reduces and selects among them.

``pixel`` has cross-entropy and its robust forms, ``region`` Dice and T-loss, ``agreement`` what two networks share.
``centres`` and ``hardness`` have distances of features, ``semi`` has terms of semi-supervised steps, ``reduce`` means and
small-loss selection.
"""
