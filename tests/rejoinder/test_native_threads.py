"""Which threads of native libraries a process of ours has."""

import os
import subprocess
import sys

COUNT = """
import os
import rejoinder
import numpy as np
square = np.ones((600, 600))
square @ square
print(len(os.listdir("/proc/self/task")))
"""


def test_products_of_matrices_start_no_thread_that_waits_in_a_busy_loop() -> None:
    given = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    found = subprocess.run([sys.executable, "-c", COUNT], env=given, capture_output=True, text=True, check=True)
    assert int(found.stdout) == 1
