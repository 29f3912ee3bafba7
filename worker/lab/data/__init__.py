"""Labelled text: the known data sets, the user's tables, and hand-written rows."""
