"""What is wrong in labels and what would be right, as pure functions of losses, features and probabilities."""
