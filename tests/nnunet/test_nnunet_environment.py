"""The environment in which debride's trainers load."""

import os
import subprocess
import sys

from debride.nnunet import ext


def test_nnunet_imports_all_of_its_own_trainers() -> None:
    """It does before it looks at others; one that cannot be imported would hide ours."""
    code = (
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "try:\n    find('nnUNetTrainerThatNobodyHas')\nexcept RuntimeError as error:\n    print(error)"
    )
    environment = {**os.environ, "nnUNet_extTrainer": ext.__path__[0]}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "Could not find requested nnunet trainer nnUNetTrainerThatNobodyHas" in done.stdout
