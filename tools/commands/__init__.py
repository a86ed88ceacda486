"""The commands of ``kinestream``, one file each. Heavy imports wait until a command runs."""

import os

# The matrix products of a frame are so small that threads of BLAS only wait for each other: 30 ms instead of
# 0.1 ms on a busy machine. NumPy reads this when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
