"""The methods, by the name that the command line knows them by."""

from debride.methods.alc import ALC
from debride.methods.base import Method
from debride.methods.ce import CrossEntropy
from debride.methods.co_teaching import CoTeaching
from debride.methods.confident_learning import ConfidentLearning
from debride.methods.dcd import DCD
from debride.methods.dcd_segmentation import DCDSegmentation
from debride.methods.dividemix import DivideMix
from debride.methods.elr import ELR
from debride.methods.gce import GeneralizedCrossEntropy
from debride.methods.gsd_net import GSDNet
from debride.methods.jocor import JoCoR
from debride.methods.l2b import L2B
from debride.methods.mean_teacher import MeanTeacher
from debride.methods.meta_dcseg import MetaDCSeg
from debride.methods.mtcl import MTCL
from debride.methods.pick_and_learn import PickAndLearn
from debride.methods.sce import SymmetricCrossEntropy
from debride.methods.self_cleansing import SelfCleansing
from debride.methods.t_loss import TLoss
from debride.methods.tri_net import TriNet
from debride.methods.unicon import UNICON
from debride.types import DataError

METHODS: dict[str, type[Method]] = {
    "ce": CrossEntropy,
    "gce": GeneralizedCrossEntropy,
    "sce": SymmetricCrossEntropy,
    "t-loss": TLoss,
    "co-teaching": CoTeaching,
    "cl": ConfidentLearning,
    "pick-and-learn": PickAndLearn,
    "jocor": JoCoR,
    "gsd-net": GSDNet,
    "l2b": L2B,
    "meta-dcseg": MetaDCSeg,
    "self-cleansing": SelfCleansing,
    "mean-teacher": MeanTeacher,
    "mtcl": MTCL,
    "tri-net": TriNet,
    "alc": ALC,
    "elr": ELR,
    "dividemix": DivideMix,
    "unicon": UNICON,
    "dcd": DCD,
    "dcd-seg": DCDSegmentation,
}


def find_method(name: str, where: object = None) -> type[Method]:
    """The method of a name; DataError, naming ``where`` the name stands, for one that does not exist."""
    if name not in METHODS:
        remedy = f"Choose one of {', '.join(METHODS)}."
        if where is None:
            raise DataError(f"method {name}", "does not exist", remedy)
        raise DataError(where, f"{name!r} is no method", remedy)
    return METHODS[name]


def methods_for(task: str) -> list[str]:
    """The names of the methods that can be trained for a task."""
    return [name for name, method in METHODS.items() if task in method.tasks]
