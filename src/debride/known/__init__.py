"""Known data sets: public sets by name, what is known of each, and how a downloaded archive becomes a folder to be read.

Nothing is ever downloaded. ``known_set`` says what a set is, ``facts_*`` hold what is known of each. ``archive`` reads
zips, tars and unpacked folders, and each converter is a module of its own.
"""
