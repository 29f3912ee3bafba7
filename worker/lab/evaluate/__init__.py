"""Measuring how good a pack or a checkpoint is, with confidence intervals."""
