"""A review of an audit in the browser: the server on this machine alone, its page, and files for other programs.

It shows what an audit found, and adds what readers decide to the audit's database. It writes nothing into the data set.
"""
