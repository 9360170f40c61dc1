"""What only data sets of masks need.

``check_masks`` and ``corrupt`` look at and change labels, and ``predicted`` reads masks of a network; ``foreground`` lists
voxels that patches are placed on, and ``prepared_maps`` keeps the maps that methods ask for.
"""
