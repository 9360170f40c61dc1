"""What a prediction says against a label, as arrays and numbers: gains, pieces, whole-label mistakes, scores, ranking.

Nothing here reads a file.
"""
