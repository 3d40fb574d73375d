"""The product: composition root, commands, page; imported by nobody."""

import os

# Products of small matrices gain nothing by a second thread, and OpenBLAS lets it wait for the next one in a busy loop:
# telling speakers apart took a quarter of a core more so. To be set before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
