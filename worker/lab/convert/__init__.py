"""A DistilBERT checkpoint to a pack, and a pack to a folder for transformers. Needs no torch."""
