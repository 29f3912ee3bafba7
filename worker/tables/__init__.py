"""Files to rows: CSV, lines of text or JSON, Parquet, plain or gzipped."""
