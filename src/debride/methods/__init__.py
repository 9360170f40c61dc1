"""The methods, by the name that the command line knows them by.

A method is one module here and one line in ``METHODS``. What several share is in ``methods/parts``. Importing this package
imports no method, and so not torch: each is imported when it is asked for.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, get_args

from debride.plugins import Registry
from debride.types import TaskName

if TYPE_CHECKING:
    from debride.methods.base import Method


def _lacks(thing: object) -> str:
    """What something lacks to be a method."""
    from debride.methods.base import Method, Paper

    if not (isinstance(thing, type) and issubclass(thing, Method)):
        return "is no class derived from debride.methods.base.Method"
    if not isinstance(getattr(thing, "paper", None), Paper):
        return "has no paper: a class attribute of type debride.methods.base.Paper"
    if not dataclasses.is_dataclass(getattr(thing, "Config", None)):
        return "has no Config: a dataclass of its settings"
    if bare := [field.name for field in dataclasses.fields(thing.Config) if field.default is dataclasses.MISSING]:
        return f"has a Config with settings that have no default: {', '.join(bare)}"
    known = get_args(TaskName)
    if not thing.tasks or not thing.tasks <= set(known):
        return f"has the tasks {', '.join(sorted(thing.tasks)) or 'none'}; there are {' and '.join(known)}"
    return ""


METHODS: Registry[type[Method]] = Registry(
    "method",
    "debride.methods",
    _lacks,
    {
        "ce": "debride.methods.ce:CrossEntropy",
        "gce": "debride.methods.gce:GeneralizedCrossEntropy",
        "sce": "debride.methods.sce:SymmetricCrossEntropy",
        "t-loss": "debride.methods.t_loss:TLoss",
        "nr-dice": "debride.methods.nr_dice:NoiseRobustDice",
        "svls": "debride.methods.svls:SVLS",
        "co-teaching": "debride.methods.co_teaching:CoTeaching",
        "cl": "debride.methods.confident_learning:ConfidentLearning",
        "slsr": "debride.methods.slsr:SLSR",
        "cdr": "debride.methods.cdr:CDR",
        "pick-and-learn": "debride.methods.pick_and_learn:PickAndLearn",
        "jocor": "debride.methods.jocor:JoCoR",
        "rmd": "debride.methods.rmd:RMD",
        "gsd-net": "debride.methods.gsd_net:GSDNet",
        "sp-guide": "debride.methods.sp_guide:SPGuide",
        "l2b": "debride.methods.l2b:L2B",
        "mw-net": "debride.methods.mw_net:MWNet",
        "meta-dcseg": "debride.methods.meta_dcseg:MetaDCSeg",
        "spatial-correction": "debride.methods.spatial_correction:SpatialCorrection",
        "self-cleansing": "debride.methods.self_cleansing:SelfCleansing",
        "adele": "debride.methods.adele:ADELE",
        "dast": "debride.methods.dast:DAST",
        "mean-teacher": "debride.methods.mean_teacher:MeanTeacher",
        "mtcl": "debride.methods.mtcl:MTCL",
        "tri-net": "debride.methods.tri_net:TriNet",
        "debias": "debride.methods.debias:Debias",
        "alc": "debride.methods.alc:ALC",
        "elr": "debride.methods.elr:ELR",
        "sop": "debride.methods.sop:SOP",
        "pes": "debride.methods.pes:PES",
        "promix": "debride.methods.promix:ProMix",
        "dividemix": "debride.methods.dividemix:DivideMix",
        "unicon": "debride.methods.unicon:UNICON",
        "dcd": "debride.methods.dcd:DCD",
        "dcd-seg": "debride.methods.dcd_segmentation:DCDSegmentation",
    },
)


def find_method(name: str, where: object = None) -> type[Method]:
    """The method of a name, also one from outside: ``package.module:Class``, or a name that an installed package registers.

    DataError, naming ``where`` the name stands, for one that does not exist or is no method.
    """
    return METHODS.find(name, where)


def methods_for(task: str) -> list[str]:
    """The names of the built-in methods that can be trained for a task."""
    return [name for name, method in METHODS.items() if task in method.tasks]
