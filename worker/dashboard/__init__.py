"""The live page: what the topics hold, kept in DuckDB and shown in a browser."""
