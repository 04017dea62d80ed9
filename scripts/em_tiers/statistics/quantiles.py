"""Quantiles and tails of the normal, Student's and the beta distribution, on arrays.

`scipy.stats` has the same, but takes more than a second to import, which a dozen short jobs of a
run would each wait for. `scipy.special` takes 0.4 s, at its first use: half of them never need it.
"""

import numpy as np
import scipy


def normal_upper(tail: float) -> float:
    """The value that a standard normal variable exceeds with the probability `tail`."""
    return -scipy.special.ndtri(tail)


def normal_tail(value: np.ndarray | float) -> np.ndarray:
    """The probability that a standard normal variable exceeds `value`."""
    return scipy.special.ndtr(-np.asarray(value))


def student_upper(tail: float, freedom: np.ndarray | float) -> np.ndarray:
    """The value that Student's t exceeds with the probability `tail`."""
    return -scipy.special.stdtrit(freedom, tail)


def student_tail(value: np.ndarray | float, freedom: np.ndarray | float) -> np.ndarray:
    """The probability that Student's t exceeds `value`."""
    return scipy.special.stdtr(freedom, -np.asarray(value))


def beta_lower(tail: float, a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """The value below which a beta variable lies with the probability `tail`."""
    return scipy.special.betaincinv(a, b, tail)


def beta_upper(tail: float, a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """The value that a beta variable exceeds with the probability `tail`."""
    return 1 - scipy.special.betaincinv(b, a, tail)
