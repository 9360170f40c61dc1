"""Work on many cases at once: a function of ours, done to one item after another by several processes.

``Work`` says what is done, ``spread`` does it on the cores of this machine. Nothing here knows of data sets or verbs.
"""

from debride.execute.cores import cores
from debride.execute.local import spread
from debride.execute.work import Outcome, Work

__all__ = ["Outcome", "Work", "cores", "spread"]
