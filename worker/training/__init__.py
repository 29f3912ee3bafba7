"""Labelled text in, a checkpoint folder with its figures and its card out.

The room needs the extra `train` (torch, transformers, the base weights); what it needs is imported where it
is used, so that recipes, tables, plans and figures can be read without. `moodstream train` goes the whole way
from the base weights to a pack.
"""

from worker.training.errors import NEEDS_PACKAGES, TrainingError
from worker.training.recipe import Recipe
from worker.training.recipe_file import load_recipe

__all__ = ["NEEDS_PACKAGES", "Recipe", "TrainingError", "load_recipe"]
