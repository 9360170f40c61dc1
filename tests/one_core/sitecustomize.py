"""On the path of nnU-Net's commands in tests, which would take all cores: threads that share a core wait for each other."""

import multiprocessing

multiprocessing.cpu_count = lambda: 1
