"""Rows become chat messages and probes, question files become tables, answers are imported."""
