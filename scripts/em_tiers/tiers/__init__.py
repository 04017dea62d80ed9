"""Definitions, outcomes, tier rules and human labels of each answer."""
