"""The live page: what the topics hold, kept in DuckDB and shown in a browser."""

PACKAGES = ("duckdb", "plotly", "sse_starlette", "starlette", "uvicorn")
"""What the page needs: the extra `dashboard`."""
