"""Networks from images to logits: U-Nets, classifiers, or a user's own."""

from debride.networks.build import NETWORKS, build
from debride.networks.classifiers import CLASSIFIERS, WIDENING, build_classifier
from debride.networks.instance_norm import InstanceNorm
from debride.networks.network import Network, adapt

__all__ = ["CLASSIFIERS", "NETWORKS", "WIDENING", "InstanceNorm", "Network", "adapt", "build", "build_classifier"]
