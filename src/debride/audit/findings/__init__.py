"""One mistake of one label, as a person would count it: how it is put into words, written, and read back."""
