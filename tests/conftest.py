"""One thread: tests run beside each other, and sums in one order are the same everywhere."""

import torch

torch.set_num_threads(1)
