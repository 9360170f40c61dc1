"""Which findings are accepted, and the new data set with their repairs."""
