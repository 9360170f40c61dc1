"""A bias taken out of predictions: offsets of classes and moved outlines, chosen on verified cases.

``correction`` is what is chosen and how it is applied, ``fitting`` chooses it and says what to expect of it. ``moving`` moves
outlines, ``scan`` counts what a bias does, ``ascent`` is the rule by which a bias is chosen, ``refuted`` the one by
which it is given up. ``bias_record`` is what is kept of
it, ``bias_words`` says it. ``group_biases`` chooses one for each site or scanner, and ``class_offsets`` is the same for
images with one class each. All of it is pure: where probabilities come from is not known here.
"""
