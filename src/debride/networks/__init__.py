"""Networks from images to logits: U-Net, U-Net++, or a user's own."""

from debride.networks.build import NETWORKS, build
from debride.networks.network import Network, adapt

__all__ = ["NETWORKS", "Network", "adapt", "build"]
