"""Runs as files that need no debride: TorchScript, ONNX, a MONAI bundle, each with a description of what is done to an image.

``tracing`` makes a graph of what a method predicts, ``mask_module`` and ``class_module`` put the preparation around it in
TorchScript, ``about`` describes it, ``written`` writes the folders.
"""
