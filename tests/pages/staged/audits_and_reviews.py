"""Pages on audits, reviews and repairs: on pictures with planted errors."""

from __future__ import annotations

import shutil

import numpy as np
from PIL import Image
from tests.audits import contents
from tests.datasets import build_manifest, build_nnunet_2d
from tests.pages.owners import File, Page, Parsed
from tests.pages.page_sets import SIZE, SMALL, planted
from tests.pages.stage import Stage
from tests.reviews import decide

NNUNET = Parsed("needs nnU-Net and its trainings; tests/nnunet does it in an environment of its own")


def scans_and_raters(stage: Stage) -> None:
    """Pictures with planted errors, and others that several raters labelled."""
    planted(stage.root)
    build_manifest(stage.root / "raters", n=12)
    for file in (stage.root / "raters" / "masks" / "rater1").iterdir():
        mask = (np.asarray(Image.open(file)) > 0).astype(np.float32)
        np.save(stage.root / "predictions" / f"{file.stem}.npy", np.stack([0.95 - 0.9 * mask, 0.05 + 0.9 * mask]))


def repaired(stage: Stage) -> None:
    """All ways of repair have left what the page says."""
    root = stage.root
    for name in ("given", "ignored", "weighted", "signed"):
        assert any((root / name).iterdir()), name
    assert (root / "audit-raters" / "raters" / "consensus").is_dir()
    assert contents(root / "scans" / "masks") == contents(root / "given" / "masks")


def reviewed(stage: Stage) -> None:
    """An audit of pictures, in which a reader has verified some labels as a whole."""
    planted(stage.root)
    stage.shell("debride audit scans/ --predictions predictions/ --planted 12 --pictures 2 --out audit/")
    decide(stage.root / "audit", [("ada", f"p{at // 2:02d}_{at}", 0, "verified") for at in (0, 1, 2, 3, 5, 6, 7, 8)])


def a_result_of_nnunet(stage: Stage) -> None:
    """A data set in nnU-Net's layout, audited by predictions in a folder."""
    root = stage.root
    data = build_nnunet_2d(root / "Dataset101_LeftAtrium", n=12)
    (root / "nnUNet_raw").mkdir()
    shutil.copytree(data / "labelsTr", root / "predictions")
    stage.shell("debride audit Dataset101_LeftAtrium/ --predictions predictions --planted 12 --pictures 0 --out audit")


PAGES = (
    Page(
        "docs/audit.md",
        scans_and_raters,
        quick={
            "debride audit  scans/ --out audit/\n": f"debride audit  scans/ --out audit/ --folds 2 --planted 4 {SMALL}\n",
            f"--out audit/ --folds 5 {SIZE} --epochs 60": f"--out by-folds/ --folds 2 --planted 4 {SMALL}",
            "raters/ --predictions predictions/ --out audit/": "raters/ --predictions predictions/ --out audit-raters/",
            "1 2 3 4 5 6 7 8": "1 2",
            "$part/8": "$part/2",
            "predictions/ --out": "predictions/ --planted 12 --pictures 2 --out",
            "debride audit repaired/": "debride review audit/ --reader ada; debride audit repaired/",
            "debride repair scans/ audit/ --out repaired/ --unbias": "true # tests/e2e/test_unbias.py",
            "debride repair scans/ audit/ --out kept/": "true # of the folds of nnU-Net: tests/nnunet",
            "--volume 0.5": "--voxels 5",
            "--fail-on 0.05": "--fail-on 0.05 || [ $? = 1 ]",
            "patient001_frame01_slice05": "p07_14",
            "patient001_frame01_slice00": "p12_24",
        },
        others={
            "for fold in": NNUNET,
            "debride audit nnUNet_raw/Dataset043_BraTS": NNUNET,
            "case,number,decision": File("decisions.csv"),
        },
        after=repaired,
        anew=True,
    ),
    Page(
        "docs/review.md",
        reviewed,
        quick={"/mnt/scans": "scans", "AUDIT": "audit", "FOLDER": "exported"},
        others={"ssh": Parsed("needs another machine")},
    ),
    Page(
        "docs/nnunet.md",
        a_result_of_nnunet,
        others={
            **dict.fromkeys(
                (
                    "pip install",
                    "export DEBRIDE",
                    "nnUNetv2_train",
                    "for fold in",
                ),
                NNUNET,
            )
        },
    ),
)
