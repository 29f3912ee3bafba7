"""Labels for texts in Python: the `Classifier` that `moodstream` exports, and its tables."""
