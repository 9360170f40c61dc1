"""Does an audit find wrong labels? Errors of every kind are planted into real sets, and an audit ranks them beside others.

    DEBRIDE_DATA=... python -m benchmarks.audit.run --out OUT
    python -m benchmarks.audit.table

``sets`` says which data and networks, ``errors`` what is planted, ``networks`` predicts, ``rivals`` are the other rankings,
``measure`` makes a row of a cell (a set, a seed, a share of wrong labels), ``run`` all of them, and ``table`` the page.
"""
