"""What follows from an image or a label alone: distances to outlines, superpixels, edges.

``pixel_map`` says what such a map is: made once for each case, and carried through the warp of every view.
"""
