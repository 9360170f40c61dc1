"""Which methods beat plain cross-entropy? Grids of cells that run while other work goes on, and the page made of their rows.

    DEBRIDE_DATA=... python -m benchmarks.evidence.run          # or: make evidence
    python -m benchmarks.evidence.report

``grids`` says which grids there are and in which order, ``stamp`` what a row was made with, ``rows`` how rows are kept, ``run``
makes those that are missing.
"""
