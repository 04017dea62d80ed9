"""Packages that a job can do without, and that others would load for it."""

import os
import sys


def leave_out(*packages: str) -> None:
    """Let packages count as not installed, for as long as this process runs.

    transformers loads scikit-learn for text generation (2 s), and torch where it only tokenises
    (8 s). To be called by a job's script before it imports transformers, and by nothing that
    others import.
    """
    sys.modules |= dict.fromkeys(packages)
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # of a missing torch
