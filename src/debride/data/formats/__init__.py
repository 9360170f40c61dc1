"""Folder layouts: how each one is known, and how its cases, classes and splits are read and written.

Nothing outside this room names a layout. ``FORMATS`` lists them.
"""
