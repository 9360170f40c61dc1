"""Kinds of image files: what each one's endings are, how it is read as stored, and how it is written.

Nothing outside this room names an ending or a decoder.
"""
