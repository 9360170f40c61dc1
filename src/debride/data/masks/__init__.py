"""What only data sets of masks need.

``check_masks`` and ``corrupt`` look at and change labels; ``foreground`` lists voxels that patches are placed on, and
``prepared_maps`` keeps the maps that methods ask for.
"""
