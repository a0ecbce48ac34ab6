"""``python -m benchmarks.instances`` writes every instance anew.

With reports of the ``plan`` suite as arguments, what is better there goes into ``best.json``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from benchmarks.instances.library import NAMES, improve, write

for path in sys.argv[1:]:
    report = orjson.loads(Path(path).read_bytes())
    improve(report["suites"]["plan"]["tables"]["Plans"])
for name in () if sys.argv[1:] else NAMES:
    write(name)
    print(name)
