"""Benchmarks: grids of trainings, and what turns their results into tables and a report.

``grid.read_grid`` and ``run_grid`` are the way in, ``cell`` one training and its test, with ``cell_kinds`` by task;
``tabulate``, ``tables`` and ``report`` show rows; ``phantom`` and ``demo`` make images for those who have none.
"""
