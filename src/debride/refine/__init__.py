"""What is wrong in labels and what would be right, as pure functions of losses, features and probabilities.

``mixture`` finds two groups among losses, ``confident`` is confident learning, ``prototypes`` labels by likeness, ``fusion`` by
several passes, ``regions`` cleans specks and holes, ``uniform`` keeps as many labels of every class.
"""
