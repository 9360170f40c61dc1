"""Audit and repair: which labels are wrong, where and how, and a data set with the repairs that were accepted."""
