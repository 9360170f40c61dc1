"""What is known of public sets of volumes.

Counts are those of the pages that ``where`` names and of the papers that ``cite`` names. Checksums of the decathlon are those
that MONAI publishes beside the name of each tar (monai.apps.DecathlonDataset.md5).
"""

from __future__ import annotations

from debride.known.known_set import NOT_KNOWN, KnownFile, KnownSet, SetOption

_TASKS = {
    "Task01_BrainTumour": "240a19d752f0d9e9101544901065d872",
    "Task02_Heart": "06ee59366e1e5124267b774dbd654057",
    "Task03_Liver": "a90ec6c4aa7f6a3d087205e23d4e6397",
    "Task04_Hippocampus": "9d24dba78a72977dbd1d2e110310f31b",
    "Task05_Prostate": "35138f08b1efaef89d7424d2bcc928db",
    "Task06_Lung": "8afd997733c7fc0432f71255ba4e52dc",
    "Task07_Pancreas": "4f7080cfca169fa8066d17ce6eb061e4",
    "Task08_HepaticVessel": "641d79e80ec66453921d997fbf12a29c",
    "Task09_Spleen": "410d4a301da4e5b2f6f86ec3ddba524e",
    "Task10_Colon": "bad7a188931dc2f6acf72b08eb6202d0",
}
"""The tars of the decathlon, and their MD5."""

VOLUMES: tuple[KnownSet, ...] = (
    KnownSet(
        name="acdc",
        title="ACDC: cine MRI of the heart",
        task="segmentation",
        classes=("background", "right_ventricle", "myocardium", "left_ventricle"),
        licence="CC BY-NC-SA 4.0",
        where="https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html",
        files=(KnownFile("ACDC.zip"),),
        cases="150 patients, 100 of them for training, with two frames each",
        size=NOT_KNOWN,
        cite="Bernard et al., IEEE Transactions on Medical Imaging 37, 2018, doi:10.1109/TMI.2018.2837502",
        used_by=("Self-cleansing", "our benchmarks"),
        converter="acdc",
        options=(
            SetOption("slices", False, "write each slice as a PNG of 16 bits, in place of volumes"),
            SetOption("size", 0, "of slices, cut a square of so many pixels around the heart (0: the whole slice)"),
        ),
        remarks=(
            "Frames at the end of diastole and systole become cases, which the patient holds together.",
            "Patients from 101 on are the official test cases.",
            "Diagnosis and phase stand in `dataset.json`.",
            "Where an sform contradicts its qform, as in many files, the file is written by its qform.",
            "The squares of `size` lie by the labels of the volume, of test cases too. Self-cleansing has 128 pixels.",
        ),
    ),
    KnownSet(
        name="msd",
        title="Medical Segmentation Decathlon: ten tasks",
        task="segmentation",
        classes=("those of the task",),
        licence="CC BY-SA 4.0",
        where="http://medicaldecathlon.com/",
        files=tuple(KnownFile(f"{name}.tar", checksum=f"md5:{digest}") for name, digest in _TASKS.items()),
        cases="30 (Task02_Heart) to 750 (Task01_BrainTumour) volumes a task",
        size=NOT_KNOWN,
        cite="Antonelli et al., Nature Communications 13, 2022, doi:10.1038/s41467-022-30695-9",
        used_by=("nnU-Net",),
        converter="msd",
        given=("Task04_Hippocampus.tar",),
        remarks=(
            "One tar at a time. Files are named as nnU-Net's own converter names them.",
            "Test volumes have no labels.",
            "Checksums are those that MONAI publishes. Of a tar from elsewhere give the unpacked folder.",
        ),
    ),
    KnownSet(
        name="lidc-idri",
        title="LIDC-IDRI: CT of the chest with the outlines of four readers",
        task="segmentation",
        classes=("background", "nodule"),
        licence="CC BY 3.0",
        where="https://www.cancerimagingarchive.net/collection/lidc-idri/",
        files=(KnownFile("the series of DICOM"), KnownFile("LIDC-XML-only.zip")),
        cases="1,018 CT of 1,010 patients",
        size=NOT_KNOWN,
        cite="Armato et al., Medical Physics 38, 2011, doi:10.1118/1.3528204",
        used_by=("GSD-Net", "our benchmarks"),
        converter="lidc",
        given=("LIDC-IDRI", "LIDC-XML-only.zip"),
        options=(
            SetOption(
                "patches", False, "write squares of 128 pixels around nodules that all readers outlined, in place of volumes"
            ),
            SetOption("keep_going", False, "leave out series that make no volume, and list them in left_out.csv"),
        ),
        remarks=(
            "Needs `pip install 'debride[dicom]'`. Give a folder with any number of the series, and the readings.",
            "Every reader has a mask of every scan, also an empty one. Readers are numbered in each scan anew.",
            "An outline, also that of a hole, runs along the first pixels outside of a nodule.",
            "Nodules below 3 mm, which are single points, and what is no nodule are left out.",
            "A patch is written for each slice on which all readers outlined the same nodule: outlines that share a voxel.",
            "Values are in Hounsfield units. The set has no official split.",
        ),
    ),
    KnownSet(
        name="qubiq",
        title="QUBIQ: structures outlined by two to seven readers",
        task="segmentation",
        classes=("background", "the structure"),
        licence=NOT_KNOWN,
        where="https://qubiq21.grand-challenge.org/participation/",
        files=(KnownFile("training_data_v3_QC.zip"), KnownFile("validation_data_qubiq2021_QC.zip")),
        cases="55 prostates, 39 growing brains, 32 brain tumours and 24 kidneys in 2020; CT of the pancreas too in 2021",
        size=NOT_KNOWN,
        cite="Li et al., arXiv:2405.18435",
        used_by=("studies of several readers",),
        converter="qubiq",
        options=(
            SetOption(
                "task",
                "",
                "the task, which must be given",
                ("brain-growth", "brain-tumor", "kidney", "pancreas", "pancreatic-lesion", "prostate"),
            ),
            SetOption("structure", 1, "the structure of the task: of prostate 1 or 2, of brain-tumor 1 to 3"),
        ),
        remarks=(
            "One structure at a time. Archives of 2020 have the same folders. Training and validation stay what they are.",
            "A validation or test set of which no case has a mask becomes test images.",
            "The four planes of a brain tumour are its channels.",
            "Masks are written on the grid of their image, whatever their headers say.",
        ),
    ),
    KnownSet(
        name="left-atrium",
        title="2018 Atrial Segmentation Challenge: late gadolinium-enhanced MRI",
        task="segmentation",
        classes=("background", "left_atrium"),
        licence=NOT_KNOWN,
        where="https://www.cardiacatlas.org/atriaseg2018-challenge/atria-seg-data/",
        files=(KnownFile("the archive with Training Set and Testing Set"),),
        cases="154 scans, 100 of them for training",
        size=NOT_KNOWN,
        cite="Xiong et al., Medical Image Analysis 67, 2021, doi:10.1016/j.media.2020.101832",
        used_by=("ALC", "our benchmarks"),
        converter="left_atrium",
        given=("atria.zip",),
        remarks=(
            "The cavity becomes 1; the wall is left out. Files stay NRRD, at 0.625 mm.",
            "Names do not say which scans are of one patient.",
        ),
    ),
    KnownSet(
        name="brats",
        title="BraTS of 2020, 2021 and 2023: brain tumours in four MRI",
        task="segmentation",
        classes=("background", "whole_tumor", "tumor_core", "enhancing_tumor"),
        licence=NOT_KNOWN,
        where="https://www.synapse.org/Synapse:syn51156910",
        files=(KnownFile("the training archive of a year"), KnownFile("its validation archive")),
        cases="369 for training in 2020, 1,251 in 2021",
        size=NOT_KNOWN,
        cite="Baid et al., arXiv:2107.02314",
        used_by=("GSD-Net", "nnU-Net"),
        converter="brats",
        given=("training.zip", "validation.zip"),
        remarks=(
            "One year at a time: patients come back under other names. Terms are agreed to where you register.",
            "Labels become regions that overlap, with the values that nnU-Net's own converter gives them.",
            "Scans of a validation archive are test images without labels. In 2023 scans of one patient stay together.",
            "Of 2023 it takes the names GLI, SSA, MEN, MET and PED. A value 4, as in 2024, is refused.",
        ),
    ),
)
