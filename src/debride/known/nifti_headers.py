"""Headers of NIfTI that say two things of their place, of sets of which it is known which one is right."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from debride.data.pixels.content import content_of
from debride.data.pixels.kind import decoding
from debride.data.pixels.nifti_place import contradictions

HEADER = 348
"""Bytes of a header of NIfTI-1."""

SFORM_LEFT_OUT = "has an sform that contradicts its qform, and is written without it"
"""What is noted of a file that ``by_qform`` changed."""


def by_qform(file: Path) -> bool:
    """Leaves the sform out of a file of NIfTI-1 whose header contradicts itself, so that qform and pixdim count; says whether
    it did. Voxels stay as they are."""
    import nibabel as nib

    with decoding(file):
        packed = content_of(file) == "packed nifti"
        content = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
        header = nib.Nifti1Header.from_fileobj(io.BytesIO(content[:HEADER]))
        shape = tuple(length for length in header.get_data_shape() if length > 1)
        if not contradictions(file, header, shape):
            return False
        header["sform_code"] = 0
        content = header.binaryblock + content[HEADER:]
    file.write_bytes(gzip.compress(content, 6, mtime=0) if packed else content)
    return True
