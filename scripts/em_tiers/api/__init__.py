"""Hosted models: the client, its limits, and its spending. Knows no judge and no prompt."""
