"""The folder that ``debride nnunet-path`` prints: nnU-Net looks through its modules for trainers by name."""
