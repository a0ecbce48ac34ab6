"""One programme solved by SciPy's HiGHS: ``python -m benchmarks.planners.highs_process IN OUT S``.

A process of its own, as HiGHS and OR-Tools cannot share one, and as its memory is told apart.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from benchmarks.measure.memory import peak_mib


def main(model: str, solution: str, seconds: float) -> None:
    """Solve for so many seconds and write what was found."""
    with np.load(model) as arrays:
        shape = len(arrays["low"]), len(arrays["cost"])
        matrix = csr_array((arrays["value"], (arrays["row"], arrays["column"])), shape=shape)
        result = milp(
            arrays["cost"],
            integrality=np.ones(shape[1]),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, arrays["low"], arrays["high"]),
            options={"time_limit": seconds, "mip_rel_gap": 0, "disp": True},
        )
    bound = result.mip_dual_bound
    np.savez(
        solution,
        x=np.empty(0) if result.x is None else result.x,
        bound=-np.inf if bound is None else bound,
        is_optimal=result.status == 0,
        is_infeasible=result.status == 2,
        mib=peak_mib(),
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
