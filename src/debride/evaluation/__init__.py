"""Measuring predictions: a table of metrics for masks and one for classes, summaries with intervals, folder against folder.

``metrics.METRICS`` and ``class_metrics.CLASS_METRICS`` are the tables; all that is written and shown follows from them.
``evaluations.EVALUATIONS`` has what evaluates a folder, by task.
"""
