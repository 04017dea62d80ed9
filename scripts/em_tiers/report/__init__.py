"""Figures, table files, pages, the sample browser and comparisons."""
