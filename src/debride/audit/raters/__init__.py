"""Several raters of one image: how far they agree, who differs, and their consensus."""
