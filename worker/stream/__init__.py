"""The worker: its start and end, the loop, and the pipeline from records to output records."""
