"""Hosted models: the client, its limits, and what was spent. Knows no judge and no prompt."""
