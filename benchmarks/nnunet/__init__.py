"""What debride does inside nnU-Net, measured in the environment of `make nnunet-env`.

``trainers`` times an iteration of each trainer, ``labels`` compares data sets made of one audit, ``round`` goes through all
steps with each trainer.
"""
