"""DICOM: what is read of files by their tags, and how series, segmentations and contours become images and labels, and back.

``data/formats/dicom.py`` is the layout of a folder of studies, ``data/pixels/dicom.py`` the kind of file; both are made of what
lies here. A case is a *handle*: a small file with a pseudonym as its name, which says where its slices or its segments lie.
"""
