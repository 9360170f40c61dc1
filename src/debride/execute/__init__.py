"""Work on many cases at once: a function of ours, done to one item after another by several processes.

``Work`` says what is done, ``spread`` does it on the cores of this machine, or by jobs of a cluster (``cluster/``). Nothing
here knows of data sets or verbs.
"""

from debride.execute.cores import affordable, cores
from debride.execute.spreading import scatter, spread
from debride.execute.work import Do, Outcome, Work, came_further

__all__ = ["Do", "Outcome", "Work", "affordable", "came_further", "cores", "scatter", "spread"]
