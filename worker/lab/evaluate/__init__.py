"""How good a pack or a checkpoint is, and how sure that may be."""
