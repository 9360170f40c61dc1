"""The functions behind the verbs, one module for each group: the command line parses and prints, all else is here.

``public`` holds those that ``import debride`` shows, and tells what was noted. Nothing large is imported before it is needed.
"""
