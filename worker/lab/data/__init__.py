"""Labelled text: the known data sets, tables of your own, and rows of our own writing."""
