"""Texts to predictions, without Kafka: packs, tokenizer, onnxruntime session, heads."""
