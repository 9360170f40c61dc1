"""Every trainer once round: killed, continued, validated with maps, predicted, audited, repaired, and trained again.

    DEBRIDE_DATA=... .venv-nnunet/bin/python -m benchmarks.nnunet.round FOLDER

Slices of ACDC with a quarter of wrong labels, two folds, small plans. Each step is a command of nnU-Net or of debride, and one
that fails ends the round of its trainer with what it printed. A row a trainer goes to `round.jsonl` in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.audit.errors import write_errors
from benchmarks.nnunet.labels import PATIENT, run
from benchmarks.nnunet.trainers import TRAINERS
from PIL import Image
from tests.nnunet.homes import kill_after_checkpoint
from tests.nnunet_sets import HEART, NAME, Home, prepare_home, shrink_plans, write_heart, write_two_folds

from debride.data.open import open_dataset
from debride.nnunet.installed import trainer_folder

SHORT = {"EPOCHS": 4, "ITERATIONS": 5, "VAL_ITERATIONS": 1, "SEED": 0}


def prepared(home: Home) -> None:
    prepare_home(home)
    shrink_plans(home.plans)
    write_two_folds(home)


def write_given(folder: Path, cases: int) -> Home:
    """The data set with wrong labels, planned and preprocessed; made once."""
    home = Home(folder / "given")
    if not (folder / "given.done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        clean = write_heart(folder / "clean", Path(os.environ["DEBRIDE_DATA"]), cases, 4)
        dataset = open_dataset(clean, patient_pattern=PATIENT)
        home.raw.mkdir(parents=True)
        write_errors(replace(dataset, cases=dataset.of("train", "val"), rest=None), home.raw / NAME, 0.25, 0)
        shutil.copytree(clean / "imagesTs", home.raw / NAME / "imagesTs", dirs_exist_ok=True)
        weights = home.raw / NAME / "weightsTr"
        shutil.copytree(home.raw / NAME / "labelsTr", weights)
        for number, file in enumerate(sorted(weights.iterdir())):
            Image.new("L", Image.open(file).size, 255 if number % 2 else 128).save(file)
        prepared(home)
        names = json.loads((home.preprocessed / NAME / "splits_final.json").read_text())
        (folder / "trusted.txt").write_text("\n".join(lists["train"][0] for lists in names) + "\n")
        (folder / "given.done").touch()
    return home


def go_round(home: Home, trainer: str, folder: Path) -> dict[str, Any]:
    """The steps of one trainer."""
    begun, own = time.monotonic(), folder / trainer
    shutil.rmtree(own, ignore_errors=True)
    shutil.rmtree(home.fold(trainer).parent, ignore_errors=True)
    given = {f"DEBRIDE_NNUNET_{name}": value for name, value in SHORT.items()}
    given["DEBRIDE_NNUNET_TRUSTED"] = folder / "trusted.txt"
    kill_after_checkpoint(home, trainer, **given)
    said = home.train(trainer, 0, "--c", "--npz", **given)
    assert "Epoch 0" not in said and "Epoch 3" in said, said[-2000:]
    home.train(trainer, 1, "--npz", **given)
    kept = list(home.fold(trainer).parent.glob("fold_*/validation/*.npz"))
    words = ("-i", home.raw / NAME / "imagesTs", "-o", own / "predicted", "-d", HEART, "-c", "2d", "-tr", trainer)
    home.run("nnUNetv2_predict", *words, "-f", 0, 1, "-device", "cpu", "-npp", 1, "-nps", 1)
    predicted = list((own / "predicted").glob("*.png"))
    source, again = home.raw / NAME, Home(own)
    os.environ.update(nnUNet_results=str(home.results))
    run(["audit", source, "--predictions", home.fold(trainer).parent, "--out", own / "audit", "--patient-pattern", PATIENT])
    found = len((own / "audit" / "findings.jsonl").read_text().splitlines())
    again.raw.mkdir()
    accept = ("--accept", "all", "--allow-removal", "--patient-pattern", PATIENT)
    run(["repair", source, own / "audit", "--out", again.raw / NAME, *accept])
    lines = [json.loads(line) for line in (again.raw / NAME / "repairs.jsonl").read_text().splitlines()]
    prepared(again)
    again.train(trainer, 0, **given)
    assert (again.fold(trainer) / "checkpoint_final.pth").is_file()
    return {
        "trainer": trainer,
        "maps": len(kept),
        "predicted": len(predicted),
        "findings": found,
        "repaired": len({line["case"] for line in lines if line["status"] == "applied"}),
        "seconds": round(time.monotonic() - begun),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trainers", nargs="+", default=("nnUNetTrainerDebride", *TRAINERS))
    parser.add_argument("--cases", type=int, default=24)
    arguments = parser.parse_args()
    os.environ.update(nnUNet_extTrainer=str(trainer_folder()))
    folder: Path = arguments.folder.resolve()
    home, rows = write_given(folder, arguments.cases), folder / "round.jsonl"
    done = {json.loads(line)["trainer"] for line in rows.read_text().splitlines()} if rows.exists() else set()
    for trainer in arguments.trainers:
        if trainer not in done:
            try:
                row = go_round(home, trainer, folder)
            except AssertionError as error:
                print(f"{trainer} failed:\n{error}", flush=True)
                continue
            with rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)


if __name__ == "__main__":
    main()
