"""The subjects of the fuzzer by the kind of input that they stand for."""

from __future__ import annotations

from tests.fuzz.audit_folders import AuditFolder, PredictionFolder
from tests.fuzz.bench_folders import BenchFolder, GridFile
from tests.fuzz.npz_sets import NpzSet, StoredNpzSet
from tests.fuzz.pixel_sets import GreySet, ItkSet, NiftiSet, PictureSet
from tests.fuzz.run_folders import RunFolder
from tests.fuzz.subject import Subject
from tests.fuzz.text_sets import FolderTexts, ManifestTexts, NnUNetTexts, NpzTexts, TableTexts

KINDS: dict[str, tuple[type[Subject], ...]] = {
    "nifti": (NiftiSet,),
    "pictures": (PictureSet, GreySet),
    "itk": (ItkSet,),
    "npz": (NpzSet, StoredNpzSet),
    "texts": (FolderTexts, NnUNetTexts, ManifestTexts, TableTexts, NpzTexts),
    "runs": (RunFolder,),
    "audits": (AuditFolder, PredictionFolder),
    "benches": (GridFile, BenchFolder),
}
"""The eight kinds of input, each with what stands for it."""

SUBJECTS: dict[str, type[Subject]] = {subject.name: subject for subjects in KINDS.values() for subject in subjects}
