"""What several methods share, so that each method's file reads beside its paper.

``selection`` (small loss), ``meta_weights`` (weights by look-ahead), ``teacher`` (mean teachers), ``dividing`` and
``semi_supervised`` (methods that divide the images), ``boundary`` (MetaDCSeg's second term).
"""
