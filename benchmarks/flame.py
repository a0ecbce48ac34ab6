"""Where the time goes: a sampled call tree, drawn as a flame graph in the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyinstrument.frame import Frame

SMALLEST = 0.004
"""The share of all time below which a call is not told of."""


def profiled(work: Callable[[], object]) -> dict[str, Any] | None:
    """Return the call tree of `work`, ``{"name", "ms", "children"}``; None without a profiler."""
    try:
        from pyinstrument import Profiler
    except ModuleNotFoundError:
        return None
    profiler = Profiler(interval=0.0005, async_mode="disabled")
    with profiler:
        work()
    session = profiler.last_session
    root = None if session is None else session.root_frame()
    return None if root is None else _tree(root, root.time * SMALLEST)


def _tree(frame: Frame, least: float) -> dict[str, Any]:
    return {
        "name": _name(frame),
        "ms": round(frame.time * 1000, 2),
        "children": [_tree(child, least) for child in frame.children if child.time >= least],
    }


def _name(frame: Frame) -> str:
    path = frame.file_path_short or ""
    return f"{frame.function} ({path}:{frame.line_no})" if path else frame.function
