"""From a DistilBERT checkpoint to a pack, and from a pack to a folder for transformers; without torch."""
