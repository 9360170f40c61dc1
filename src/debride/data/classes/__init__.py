"""What only data sets with one class per image need: checks, copies with noise, prepared arrays, batches, policies."""
