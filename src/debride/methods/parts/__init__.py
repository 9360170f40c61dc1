"""What several methods share: small-loss selection, weights by look-ahead, teachers, semi-supervised steps, boundaries."""
