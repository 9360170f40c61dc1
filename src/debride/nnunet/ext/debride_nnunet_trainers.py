"""The trainers by name, where nnU-Net looks for them."""

from debride.nnunet.loss_trainers import nnUNetTrainerDebrideGCE as nnUNetTrainerDebrideGCE
from debride.nnunet.loss_trainers import nnUNetTrainerDebrideSCE as nnUNetTrainerDebrideSCE
from debride.nnunet.loss_trainers import nnUNetTrainerDebrideTLoss as nnUNetTrainerDebrideTLoss
