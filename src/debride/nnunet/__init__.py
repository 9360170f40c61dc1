"""debride inside nnU-Net: trainers that ``nnUNetv2_train`` finds, and what they read and keep.

Modules here that need nnU-Net import it at their top; nothing outside of this room imports those.
"""
