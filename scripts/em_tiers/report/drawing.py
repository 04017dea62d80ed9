"""What figures use of matplotlib, imported in two thirds of the time.

While it is imported, matplotlib writes the documentation of all its classes, and Python searches
the many new objects for garbage. Each figure is a job of its own and would wait for both, so
scripts of figures take matplotlib's classes from here. Imported directly, they are the same.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib import artist


@contextmanager
def _quick_import() -> Iterator[None]:
    document = artist.kwdoc
    artist.kwdoc = lambda artist: ""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        artist.kwdoc = document


with _quick_import():
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch, Rectangle
    from matplotlib.ticker import MaxNLocator

__all__ = [
    "Axes",
    "Figure",
    "Line2D",
    "LineCollection",
    "MaxNLocator",
    "Patch",
    "PolyCollection",
    "QuadMesh",
    "Rectangle",
]
