"""Work on many items by jobs of a cluster, SLURM or Ray, in place of processes of this machine.

``on_cluster`` says so for a while; ``spread`` then divides its items into shards, and nothing else changes. A shard is done by
a process of ours on some machine, told what to do by its argument list and files of JSON in one folder that all machines see.
"""

from debride.execute.cluster.cluster_options import CLUSTERS, Cluster, RayOptions, SlurmOptions, make_cluster
from debride.execute.cluster.in_use import cluster_in_use, off_cluster, on_cluster

__all__ = [
    "CLUSTERS",
    "Cluster",
    "RayOptions",
    "SlurmOptions",
    "cluster_in_use",
    "make_cluster",
    "off_cluster",
    "on_cluster",
]
