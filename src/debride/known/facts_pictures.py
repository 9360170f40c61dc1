"""What is known of public sets of pictures with masks, and of the set that is made here."""

from __future__ import annotations

from debride.known.known_set import KnownSet, SetOption

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
        "planted.csv lists the wrong labels, and right/ has them as they were; no verb reads either.",
        "The mistakes are a missing lesion, one too many, a mirrored, a moved, a too large and a too small label.",
    ),
)

PICTURES: tuple[KnownSet, ...] = (GENERATED,)
