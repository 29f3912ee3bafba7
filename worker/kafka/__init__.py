"""Everything that speaks Kafka: source, checkpoint, topics, and the guards around the client."""
