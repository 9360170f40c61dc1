"""The tables and figures of five papers: what each printed, and the grid that asks for the same at the paper's size.

``paper_items.read_paper`` reads one of the YAML files here, one a paper.
"""
