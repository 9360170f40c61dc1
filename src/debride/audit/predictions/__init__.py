"""Where an audit's predictions come from: folders, nnU-Net, runs, a cross-validation; and how they are kept on disk."""
