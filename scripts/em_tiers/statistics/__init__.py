"""Rates, differences, agreement and their intervals, from outcomes. Knows no pages."""
