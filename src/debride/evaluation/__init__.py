"""Measuring predictions: metrics of one case, summaries over cases and patients, and folder against folder."""
