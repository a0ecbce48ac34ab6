"""Names for the numpy arrays of the solver."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

type Ints = NDArray[np.int64]


type Bools = NDArray[np.bool_]


type Small = NDArray[np.int32]


type Floats = NDArray[np.float64]
