"""Which classes of images with one class each are wrong: predictions, their share by pair, near duplicates, report, repair.

``class_noise`` and ``class_shares`` are the statistics, ``class_audit`` does an audit, ``class_repair`` applies what of it is
accepted.
"""
