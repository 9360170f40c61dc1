"""Benchmarks: grids of trainings on generated or real data, and what turns their results into tables and a report."""
