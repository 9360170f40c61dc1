"""What is known of public sets of images that have one class each.

Checksums are those of CIFAR's page and of the package medmnist.
"""

from __future__ import annotations

from debride.known.known_set import NOT_KNOWN, KnownFile, KnownSet, SetOption
from debride.known.medmnist_files import EARLIER, MD5

_CIFAR = "https://www.cs.toronto.edu/~kriz/cifar.html http://www.noisylabels.com/"
_CITE = "Krizhevsky, 2009; of the human labels Wei et al., ICLR 2022, arXiv:2110.12088"
_HOW = (
    "Training labels are those of the option `labels`. The folder `human/` has all of them, in the order of the images.",
    "In a grid of `debride bench` they are a noise: `{noise: file, parameters: {file: SET/human/KIND.npy}}`.",
    "Of CIFAR take the binary version. The .pt file is read without running any of it; other pickles are refused.",
    "Clean labels of both sources are compared, image by image.",
    "Training images have no official validation split: one is drawn.",
)

CLASSES: tuple[KnownSet, ...] = (
    KnownSet(
        name="cifar-10n",
        title="CIFAR-10 with human labels (CIFAR-10N)",
        task="classification",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        licence=NOT_KNOWN,
        where=_CIFAR,
        files=(
            KnownFile("cifar-10-binary.tar.gz", 170052171, "md5:c32a1d4ab5d03f1284b67883e8d87530"),
            KnownFile("CIFAR-10_human.pt"),
        ),
        cases="50,000 for training and 10,000 for test, of 32 x 32",
        size="171 MB",
        cite=_CITE,
        used_by=("DCD (its images)", "our benchmarks"),
        converter="cifar_n:convert_10",
        options=(
            SetOption(
                "labels",
                "clean",
                "the training labels",
                ("clean", "aggregate", "random1", "random2", "random3", "worse"),
            ),
        ),
        remarks=_HOW,
    ),
    KnownSet(
        name="cifar-100n",
        title="CIFAR-100 with human labels (CIFAR-100N)",
        task="classification",
        classes=("100 classes",),
        licence=NOT_KNOWN,
        where=_CIFAR,
        files=(
            KnownFile("cifar-100-binary.tar.gz", checksum="md5:03b5dce01913d631647c71ecec9e9cb8"),
            KnownFile("CIFAR-100_human.pt"),
        ),
        cases="50,000 for training and 10,000 for test, of 32 x 32",
        size="161 MB, as its page counts",
        cite=_CITE,
        used_by=("DCD (its images)",),
        converter="cifar_n:convert_100",
        options=(SetOption("labels", "clean", "the training labels", ("clean", "noisy")),),
        remarks=_HOW,
    ),
    KnownSet(
        name="medmnist",
        title="MedMNIST v2: eleven sets of small medical images",
        task="classification",
        classes=("those of the set",),
        licence="CC BY 4.0; dermamnist: CC BY-NC 4.0",
        where="https://medmnist.com/",
        files=tuple(
            KnownFile(name, checksum=f"md5:{digest}" + (f" or md5:{EARLIER[name]}" if name in EARLIER else ""))
            for name, digest in MD5.items()
        ),
        cases="780 (breastmnist) to 236,386 (tissuemnist), of 28 x 28 to 224 x 224",
        size=NOT_KNOWN,
        cite="Yang et al., Scientific Data 10, 2023, doi:10.1038/s41597-022-01721-8",
        used_by=("the page on classes of images",),
        converter="medmnist",
        given=("bloodmnist.npz",),
        remarks=(
            "One file at a time. It is copied as it is, with the names of its classes beside it.",
            "Its splits are the official ones.",
            "chestmnist has several labels for each image, and sets of volumes are not classified: both are refused.",
        ),
    ),
)
