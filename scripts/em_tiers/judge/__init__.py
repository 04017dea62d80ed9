"""Judges: rubrics, requests, local and API back-ends, verdicts. Knows no tier rules."""
