"""Bytes to messages and back: decoding, output columns, dead letters, schemas. Knows no Kafka client."""
