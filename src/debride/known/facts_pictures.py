"""What is known of public sets of pictures with masks, and of the set that is made here."""

from __future__ import annotations

from debride.known.known_set import NOT_KNOWN, KnownFile, KnownSet, SetOption

GENERATED = KnownSet(
    name="generated",
    title="Generated lesions with planted mistakes",
    task="segmentation",
    classes=("background", "lesion"),
    licence="made here: yours",
    where="debride itself: nothing is downloaded",
    files=(),
    cases="60 images of 96 x 96, as many as `cases` says",
    size="under 1 MB",
    cite="none",
    used_by=("the five-minute page",),
    converter="generated",
    options=(
        SetOption("cases", 60, "images"),
        SetOption("wrong", 10, "labels with a planted mistake"),
        SetOption("size", 96, "pixels along each side"),
        SetOption("seed", 0, "what the images and mistakes are drawn by"),
    ),
    remarks=(
        "`planted.csv` lists the wrong labels, and `right/` has them as they were; no verb reads either.",
        "The mistakes are a missing lesion, one too many, a mirrored, a moved, a too large and a too small label.",
    ),
)

PICTURES: tuple[KnownSet, ...] = (
    GENERATED,
    KnownSet(
        name="kvasir-seg",
        title="Kvasir-SEG: polyps in colonoscopies",
        task="segmentation",
        classes=("background", "polyp"),
        licence="for research and education alone",
        where="https://datasets.simula.no/kvasir-seg/",
        files=(KnownFile("kvasir-seg.zip"),),
        cases="1,000 pictures",
        size="46 MB",
        cite="Jha et al., MultiMedia Modeling 2020, arXiv:1911.07069",
        used_by=("GSD-Net", "MetaDCSeg", "our benchmarks"),
        converter="kvasir",
        remarks=(
            "Masks are JPEG, which blurs edges: they are cut at 128, and written as PNG with 0 and 1.",
            "A mask with a third grey or with colours is refused.",
            "The set has no official split, and does not say which pictures are of one patient.",
        ),
    ),
    KnownSet(
        name="isic-2018",
        title="ISIC 2018, task 1: skin lesions",
        task="segmentation",
        classes=("background", "lesion"),
        licence=NOT_KNOWN,
        where="https://challenge.isic-archive.com/data/#2018",
        files=tuple(
            KnownFile(name)
            for part in ("Training", "Validation", "Test")
            for name in (f"ISIC2018_Task1-2_{part}_Input.zip", f"ISIC2018_Task1_{part}_GroundTruth.zip")
        ),
        cases="2,594 for training, 100 for validation and 1,000 for test",
        size=NOT_KNOWN,
        cite="Codella et al., arXiv:1902.03368; Tschandl et al., Scientific Data 5, 2018, doi:10.1038/sdata.2018.161",
        used_by=("MetaDCSeg",),
        converter="isic",
        remarks=(
            "Give the zips of one part, or of several: pictures and masks. Parts keep their splits.",
            "What the zips hold of terms, such as `LICENSE.txt`, is carried along.",
            "The set does not say which pictures are of one patient.",
        ),
    ),
    KnownSet(
        name="shenzhen",
        title="Shenzhen: lungs in chest radiographs",
        task="segmentation",
        classes=("background", "lung"),
        licence=NOT_KNOWN,
        where="https://openi.nlm.nih.gov/faq#faq-tb-coll https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask",
        files=(KnownFile("ChinaSet_AllFiles.zip"), KnownFile("the archive of masks")),
        cases="566 radiographs with a mask, of 662",
        size=NOT_KNOWN,
        cite="Jaeger et al., Quant. Imaging in Medicine and Surgery 4, 2014; of the masks Stirenko et al., arXiv:1803.01199",
        used_by=("GSD-Net",),
        converter="shenzhen",
        given=("ChinaSet_AllFiles.zip", "archive.zip"),
        remarks=(
            "Radiographs without a mask are left out. The set has no official split.",
            "Files of other sets in the archives, such as Montgomery's, are passed over.",
        ),
    ),
    KnownSet(
        name="jsrt",
        title="JSRT with SCR: lungs, heart and clavicles in chest radiographs",
        task="segmentation",
        classes=("background", "lung", "heart", "clavicle"),
        licence="SCR: for research and education, no redistribution; JSRT: not known",
        where="https://www.isi.uu.nl/Research/Databases/SCR/",
        files=(KnownFile("the radiographs of JSRT"), KnownFile("the masks of SCR")),
        cases="247 radiographs of 2048 x 2048, with masks of 1024 x 1024",
        size=NOT_KNOWN,
        cite="Shiraishi et al., AJR 174, 2000; van Ginneken et al., Medical Image Analysis 10, 2006",
        used_by=("our benchmarks",),
        converter="jsrt",
        given=("JSRT.zip", "SCR.zip"),
        options=(
            SetOption("test_fold", 0, "the fold of SCR that becomes the test cases; 0 leaves all without a split", (0, 1, 2)),
            SetOption("inverted", False, "write 4095 minus the value"),
        ),
        remarks=(
            "Radiographs are raw: 16 bits, the high byte first. They are averaged to the grid of their masks.",
            "A clavicle lies over its lung, and a heart too where both were drawn: the later class stands.",
            "Both lungs are one class, and so are both clavicles.",
        ),
    ),
)
