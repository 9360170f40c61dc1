"""How large a finding is, and how far the label is off there, in words."""

from __future__ import annotations

from debride.audit.findings import Finding


def magnitude(finding: Finding) -> str:
    """Its size, and how far the label is off where that is known."""
    return ", ".join(text for text in (size(finding), reach(finding)) if text)


def size(finding: Finding) -> str:
    """Pixels or voxels, and ml or mm² where a spacing is known."""
    voxels = f"{finding.voxels} {'pixels' if len(finding.box) == 2 and finding.volume is None else 'voxels'}"
    if finding.volume is not None:
        return f"{finding.volume:.3g} ml ({voxels})"
    return voxels if finding.area is None else f"{finding.area:.3g} mm² ({voxels})"


def reach(finding: Finding) -> str:
    """How far the label is off, or how long the finding is; empty where that is not known, or means nothing."""
    if finding.kind == "boundary":
        return _off(finding)
    if finding.kind == "flip":
        return ""
    length = finding.displacement if finding.distance is None else finding.distance
    if length is None:
        return ""
    if finding.kind == "shift":
        return f"off by {length:.1f} {finding.unit}"
    return f"{length:.1f} {finding.unit} {'of slices' if finding.kind in ('gap', 'stray') else 'long'}"


def _off(finding: Finding) -> str:
    """How far an outline lies too far out or in, on average and at most."""
    if finding.displacement is None:
        return ""
    most = f"{abs(finding.displacement):.1f} {finding.unit} too far {'out' if finding.displacement > 0 else 'in'}"
    return most if finding.distance is None else f"off by {finding.distance:.1f} {finding.unit}, at most {most}"
