"""Data sets: a folder becomes cases, and cases become batches.

``open.open_dataset`` is the way in, by ``formats`` (folder layouts) and ``pixels`` (kinds of file); ``check``, ``splits`` and
``copy`` work on any data set, ``masks`` and ``classes`` on those of one task; ``cache`` and ``loader`` feed a training.
"""
