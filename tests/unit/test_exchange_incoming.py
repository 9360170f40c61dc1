"""What comes back from other programs: labels bit for bit as edited, once, and refused where they cannot be meant."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from tests.audits import contents
from tests.class_sets import table as class_table
from tests.datasets import save_png
from tests.exchanged import SHAPE, decisions_in, pictures, volumes
from tests.review_folders import CLASSES, classes_audit, regions_audit
from tests.written_audits import given_label

from debride.audit.decided import Decision, ReviewDb, apply_edit, read_edit
from debride.audit.repair import repair
from debride.audit.repair.decisions import parse_acceptance
from debride.data.open import open_dataset
from debride.data.pixels.images import hash_of, read_label
from debride.review.exchange import export_review, export_table, import_review
from debride.review.exchange.run_lengths import mask_of, run_lengths
from debride.review.verified_cases import write_verified
from debride.review.worklist_items import make_items
from debride.types import DataError, Dataset


class Exported:
    """An audit that was exported for a program into ``out``."""

    def __init__(self, root: Path, program: str, made: Callable[[Path], tuple[Dataset, Path]]) -> None:
        self.dataset, self.audit = made(root)
        self.before = contents(self.dataset.root)
        self.out, self.program = root / "out", program
        export_review(self.dataset, self.audit, self.out, program)

    def take(self, **options: Any) -> Any:
        return import_review(self.dataset, self.audit, self.out, "ann", **options)

    def label(self, case: str, hash: str) -> Any:
        given = given_label(self.dataset, case)
        return apply_edit(given, read_edit(self.audit, case, hash, given.shape, len(self.dataset.classes)))


def edit_volume(path: Path, at: tuple[int, int, int], value: int) -> None:
    """Sets a voxel (z, y, x) as a user of SimpleITK does."""
    image = SimpleITK.ReadImage(str(path))
    image[at[::-1]] = value
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def edit_slicer(out: Path) -> None:
    edit_volume(out / "vol02.seg.nrrd", (1, 2, 3), 2)


def edit_snap(out: Path) -> None:
    edit_volume(out / "vol02.nii.gz", (1, 2, 3), 2)


def edit_coco(out: Path) -> None:
    """Adds a pixel to the mask of the second class of case003."""
    value = json.loads((out / "labels.json").read_text())
    for annotation in value["annotations"]:
        mask = mask_of(annotation["segmentation"]["counts"], 32, 32)
        if annotation["image_id"] == 2:
            mask[1, 2] = annotation["category_id"] == 2
            annotation["segmentation"]["counts"] = run_lengths(mask)
    (out / "labels.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("program", "made", "edit", "case", "at"),
    [
        ("slicer", volumes, edit_slicer, "vol02", (1, 2, 3)),
        ("itk-snap", volumes, edit_snap, "vol02", (1, 2, 3)),
        ("coco", pictures, edit_coco, "case003", (1, 2)),
    ],
)
def test_an_edit_comes_back_bit_for_bit_and_once(
    tmp_path: Path, program: str, made: Any, edit: Callable[[Path], None], case: str, at: tuple[int, ...]
) -> None:
    exported = Exported(tmp_path, program, made)
    assert exported.take().edited == () and decisions_in(exported.audit) == []
    edit(exported.out)
    result = exported.take()
    assert (result.edited, result.unchanged, result.decisions) == ((case,), 1, 1)
    (decision,) = decisions_in(exported.audit)
    assert (decision.reader, decision.case, decision.number, decision.decision) == ("ann", case, 0, "edited")
    assert decision.comment.startswith("imported from ") and decision.region == ""
    expected = given_label(exported.dataset, case)
    assert expected[at] != 2
    expected[at] = 2
    assert np.array_equal(exported.label(case, decision.label), expected)
    accept = parse_acceptance([], exported.dataset.classes, decisions=exported.audit / "review.db")
    repair(exported.dataset, exported.audit, tmp_path / "repaired", accept)
    assert np.array_equal(given_label(open_dataset(tmp_path / "repaired"), case), expected)
    again = exported.take()
    assert (again.edited, again.decisions) == ((), 0) and len(decisions_in(exported.audit)) == 1
    assert exported.take(round=2).decisions == 1  # another round is another decision
    assert contents(exported.dataset.root) == exported.before


def test_an_edit_in_an_audit_by_regions_is_of_the_classes(tmp_path: Path) -> None:
    audit = regions_audit(tmp_path)
    dataset = open_dataset(tmp_path / "source")
    export_review(dataset, audit, tmp_path / "out", "slicer")
    case = dataset.cases[0].id
    expected = given_label(dataset, case)
    image = SimpleITK.ReadImage(str(tmp_path / "out" / f"{case}.seg.nrrd"))
    expected[15, 4:8] = len(dataset.classes) - 1
    for column in range(4, 8):
        image[column, 15, 0] = len(dataset.classes) - 1
    SimpleITK.WriteImage(image, str(tmp_path / "out" / f"{case}.seg.nrrd"), useCompression=True)
    assert import_review(dataset, audit, tmp_path / "out", "ann").edited == (case,)
    assert decisions_in(audit)[0].region == ""
    accept = parse_acceptance([], dataset.classes, decisions=audit / "review.db")
    repair(dataset, audit, tmp_path / "repaired", accept)
    assert np.array_equal(given_label(open_dataset(tmp_path / "repaired"), case), expected)


def test_masks_of_the_data_sets_own_kind_come_back(tmp_path: Path) -> None:
    """Binary pictures hold 0 and 255: values are those of the data set."""
    dataset, audit = pictures(tmp_path, classes=2)
    label = given_label(dataset, "case001")
    label[0, :5] = 1 - label[0, :5]
    save_png(tmp_path / "in" / "case001.png", label * 255)
    assert import_review(dataset, audit, tmp_path / "in", "ann").edited == ("case001",)  # a case without a finding
    (decision,) = decisions_in(audit)
    edit = read_edit(audit, "case001", decision.label, label.shape, 2)
    assert np.array_equal(apply_edit(given_label(dataset, "case001"), edit), label)


def test_a_file_of_itk_snap_that_lies_otherwise_is_turned(tmp_path: Path) -> None:
    exported = Exported(tmp_path, "itk-snap", volumes)
    path = exported.out / "vol00.nii.gz"
    edit_volume(path, (0, 0, 0), 1)
    image = SimpleITK.ReadImage(str(path))
    SimpleITK.WriteImage(SimpleITK.PermuteAxes(image, (2, 0, 1)), str(path))
    assert exported.take().edited == ("vol00",)
    expected = given_label(exported.dataset, "vol00")
    expected[0, 0, 0] = 1
    assert np.array_equal(exported.label("vol00", decisions_in(exported.audit)[0].label), expected)


def test_label_descriptions_name_the_values_of_the_data_set(tmp_path: Path) -> None:
    exported = Exported(tmp_path, "itk-snap", lambda root: pictures(root, classes=2))
    *_, line = (exported.out / "labels.txt").read_text().splitlines()
    assert line.split()[0] == "255" and line.endswith(f'"{exported.dataset.classes[1]}"')
    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(exported.out / "case000.nii.gz")))
    assert set(np.unique(values)) == {0, 255}
    numbers = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(exported.out / "findings" / "case000.findings.nii.gz")))
    assert numbers[..., 0, 0] == 1 and numbers[..., 31, 0] == 2
    assert "missing" in (exported.out / "findings" / "case000.findings.txt").read_text()


def test_a_table_of_decisions_goes_out_and_comes_back(tmp_path: Path) -> None:
    exported = Exported(tmp_path, "slicer", volumes)
    edit_slicer(exported.out)
    exported.take()
    with ReviewDb(exported.audit) as db:
        db.append(Decision(reader="bob", case="vol00", number=2, decision="reject", comment="=1+1"), "1")
    assert export_review(exported.dataset, exported.audit, tmp_path / "table", "csv").findings == 2
    (tmp_path / "other").mkdir()
    copied = shutil.copytree(exported.audit, tmp_path / "other" / "audit")
    (copied / "review.db").unlink()
    for path in (tmp_path / "table", tmp_path / "table" / "decisions.csv"):
        assert import_review(exported.dataset, copied, path, "eve").decisions == (2 if path.is_dir() else 0)
    plain = [(each.reader, each.case, each.number, each.decision, each.label) for each in decisions_in(exported.audit)]
    assert [(each.reader, each.case, each.number, each.decision, each.label) for each in decisions_in(copied)] == plain


def test_a_table_as_a_file_is_never_written_over(tmp_path: Path) -> None:
    exported = Exported(tmp_path, "slicer", volumes)
    edit_slicer(exported.out)
    exported.take()
    for name in ("d.csv", "d.jsonl"):
        assert export_table(exported.audit, tmp_path / name).findings == 1
        with pytest.raises(DataError, match="exists"):
            export_table(exported.audit, tmp_path / name)
        assert import_review(exported.dataset, exported.audit, tmp_path / name, "ann").decisions == 0
    with pytest.raises(DataError, match="a table has all decisions"):
        export_table(exported.audit, tmp_path / "e.csv", ["vol00"])


@pytest.mark.parametrize(
    ("program", "make", "edit", "name"),
    [("slicer", volumes, edit_slicer, "vol02.seg.nrrd"), ("coco", pictures, edit_coco, "labels.json")],
)
def test_one_edited_file_is_taken_alone(
    tmp_path: Path, program: str, make: Any, edit: Callable[[Path], None], name: str
) -> None:
    exported = Exported(tmp_path, program, make)
    edit(exported.out)
    came = import_review(exported.dataset, exported.audit, exported.out / name, "ann")
    assert len(came.edited) == came.decisions == 1


def test_a_verified_label_is_no_longer_trusted_as_given_once_it_is_edited(tmp_path: Path) -> None:
    exported = Exported(tmp_path, "slicer", volumes)
    with ReviewDb(exported.audit) as db:
        make_items(db)
        db.append(Decision(reader="ann", case="vol02", number=0, decision="verified"), "1")
        write_verified(db)
    assert (exported.audit / "trusted.txt").read_text() == "vol02\n"
    edit_slicer(exported.out)
    exported.take()
    assert not (exported.audit / "trusted.txt").exists()


def test_images_with_one_class_come_and_go_as_a_table(tmp_path: Path) -> None:
    audit = classes_audit(tmp_path / "audit")
    rows = [f"{case},images/i{at}.png,{name}" for at, (case, name) in enumerate(zip("abc", CLASSES, strict=True))]
    root = class_table(tmp_path / "data", "case,image,class", *rows)
    dataset = open_dataset(root)
    with pytest.raises(DataError, match=r"is for classification.* Export as csv"):
        export_review(dataset, audit, tmp_path / "out", "slicer")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "decisions.csv").write_text("case,number,decision,label\na,1,edited,hen\nb,0,verified,\n")
    save_png(tmp_path / "in" / "a.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(DataError, match=r"is for classification.* Give a table"):
        import_review(dataset, audit, tmp_path / "in", "ann")
    (tmp_path / "in" / "a.png").unlink()
    assert import_review(dataset, audit, tmp_path / "in", "ann").decisions == 2
    assert import_review(dataset, audit, tmp_path / "in", "ann").decisions == 0
    assert export_review(dataset, audit, tmp_path / "out", "csv").findings == 2
    assert "a,1,edited" in (tmp_path / "out" / "decisions.csv").read_text().replace("ann,", "")


def test_two_readers_and_an_adjudicator_are_apart(tmp_path: Path) -> None:
    exported = Exported(tmp_path, "slicer", volumes)
    edit_slicer(exported.out)
    for reader, adjudicates in (("ann", False), ("bob", False), ("ann", True)):
        options = {"adjudicates": adjudicates}
        assert import_review(exported.dataset, exported.audit, exported.out, reader, **options).decisions == 1
    made = decisions_in(exported.audit)
    assert [(decision.reader, decision.adjudicates) for decision in made] == [("ann", False), ("bob", False), ("ann", True)]
    assert len({decision.label for decision in made}) == 1  # one edit, kept once


def rename(exported: Exported) -> None:
    (exported.out / "vol02.seg.nrrd").rename(exported.out / "vol2.seg.nrrd")


def change_source(exported: Exported) -> None:
    case = next(case for case in exported.dataset.cases if case.id == "vol02")
    edit_volume(Path(str(case.label)), (0, 0, 0), 1)


def other_label(exported: Exported) -> None:
    edit_slicer(exported.out)
    image = SimpleITK.GetImageFromArray(np.zeros(SHAPE, np.uint8))
    image.CopyInformation(SimpleITK.ReadImage(str(exported.out / "vol02.seg.nrrd")))
    SimpleITK.WriteImage(image, str(exported.out / "vol02.nii.gz"))


def link_out(exported: Exported) -> None:
    outside = exported.out.parent / "outside.seg.nrrd"
    (exported.out / "vol02.seg.nrrd").rename(outside)
    (exported.out / "vol02.seg.nrrd").symlink_to(outside)


def other_grid(exported: Exported) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros(SHAPE, np.uint8))
    SimpleITK.WriteImage(image, str(exported.out / "vol02.nii.gz"))


def other_value(exported: Exported) -> None:
    case = next(case for case in exported.dataset.cases if case.id == "vol02")
    image = SimpleITK.ReadImage(str(case.label))
    image[0, 0, 0] = 9
    SimpleITK.WriteImage(image, str(exported.out / "vol02.nii.gz"))


def cut_off(exported: Exported) -> None:
    path = exported.out / "vol02.seg.nrrd"
    path.write_bytes(path.read_bytes()[:-30])


def coco_of_volumes(exported: Exported) -> None:
    (exported.out / "vol02.json").write_text("{}")


@pytest.mark.parametrize(
    ("harm", "where", "said"),
    [
        (rename, "vol2.seg.nrrd", "no case of the audit"),
        (change_source, "vol02.seg.nrrd", "changed since the audit"),
        (other_label, "vol02.seg.nrrd", "another label of vol02"),
        (link_out, "vol02.seg.nrrd", "leads out of the folder"),
        (other_grid, "vol02.nii.gz", "does not lie on the grid of the label"),
        (other_value, "vol02.nii.gz", "holds the values 9"),
        (cut_off, "vol02.seg.nrrd", "cannot be decoded|cut off"),
        (coco_of_volumes, "vol02.json", "annotations of pictures"),
    ],
)
def test_one_file_that_cannot_be_meant_keeps_all_out(
    tmp_path: Path, harm: Callable[[Exported], None], where: str, said: str
) -> None:
    exported = Exported(tmp_path, "slicer", volumes)
    edit_volume(exported.out / "vol00.seg.nrrd", (0, 0, 0), 2)
    harm(exported)
    with pytest.raises(DataError, match=said) as refused:
        exported.take()
    assert refused.value.where == str(exported.out / where) and refused.value.remedy
    assert not (exported.audit / "review.db").exists() or not decisions_in(exported.audit)


def test_a_picture_without_annotations_is_not_taken_for_an_empty_label(tmp_path: Path) -> None:
    exported = Exported(tmp_path, "coco", pictures)
    value = json.loads((exported.out / "labels.json").read_text())
    value["annotations"] = [each for each in value["annotations"] if each["image_id"] == 1]
    (exported.out / "labels.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match="no annotation of case003"):
        exported.take()


def test_voxels_without_a_label_stay_so(tmp_path: Path) -> None:
    source, audit = pictures(tmp_path)
    description = {"classes": list(source.classes), "ignore": 9}
    label = given_label(source, "case003")
    label[20:, :] = 9
    save_png(source.root / "masks" / "case003.png", label)
    (source.root / "dataset.json").write_text(json.dumps(description))
    dataset = open_dataset(source.root)
    about = json.loads((audit / "audit.json").read_text())
    about["labels"]["case003"] = hash_of([source.root / "masks" / "case003.png"])
    about["dataset"] |= {"ignore": 9, "values": {}}
    (audit / "audit.json").write_text(json.dumps(about))
    for program in ("slicer", "coco", "itk-snap"):
        export_review(dataset, audit, tmp_path / program, program)
        assert import_review(dataset, audit, tmp_path / program, "ann").unchanged == 2
    image = SimpleITK.ReadImage(str(tmp_path / "slicer" / "case003.seg.nrrd"))
    image[5, 0, 0], image[5, 25, 0] = 1, 1  # a pixel with a label, and one without
    SimpleITK.WriteImage(image, str(tmp_path / "slicer" / "case003.seg.nrrd"), useCompression=True)
    assert import_review(dataset, audit, tmp_path / "slicer", "ann").edited == ("case003",)
    given = read_label(source.root / "masks" / "case003.png", dataset)[0]
    edit = read_edit(audit, "case003", decisions_in(audit)[0].label, given.shape, len(dataset.classes))
    assert edit.changed.sum() == 1 and apply_edit(given, edit)[0, 5] == 1


def test_what_is_no_folder_of_labels_is_refused(tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.txt").write_text("")
    for path, said in ((tmp_path / "none", "does not exist"), (tmp_path / "empty", "holds no edited labels")):
        with pytest.raises(DataError, match=said):
            import_review(dataset, audit, path, "ann")


def test_an_export_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with pytest.raises(DataError, match="is 'vtk'"):
        export_review(dataset, audit, tmp_path / "out", "vtk")
    with pytest.raises(DataError, match="has no case nobody"):
        export_review(dataset, audit, tmp_path / "out", "slicer", ["case000", "nobody"])
    with pytest.raises(DataError, match="audit"):
        export_review(dataset, audit, audit / "out", "slicer")
    save_png(dataset.root / "masks" / "case003.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(DataError, match="changed since the audit"):
        export_review(dataset, audit, tmp_path / "out", "slicer")
    assert not (tmp_path / "out").exists()
