"""Write every instance anew: ``python -m benchmarks.instances``."""

from __future__ import annotations

from benchmarks.instances.library import NAMES, write

for name in NAMES:
    write(name)
    print(name)
