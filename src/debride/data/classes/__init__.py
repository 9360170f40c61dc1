"""What only data sets with one class per image need.

``check_classes`` and ``corrupt_classes`` look at and change labels, ``class_cache`` and ``class_loader`` make batches,
``policies`` and ``colour`` are their augmentation.
"""
