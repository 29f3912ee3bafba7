"""A labelled table of your own, read row by row."""
