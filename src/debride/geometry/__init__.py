"""Maps that follow from an image or a label alone: distances to outlines, superpixels."""
