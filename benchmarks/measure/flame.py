"""Where the time goes: a sampled call tree, drawn as a flame graph in the report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pyinstrument import Profiler
    from pyinstrument.frame import Frame


SMALLEST = 0.004
"""The share of all time below which a call is not told of."""


INTERVAL_SECONDS = 0.0005


def profiled(work: Callable[[], object]) -> dict[str, Any] | None:
    """Return the call tree of `work`, ``{"name", "ms", "children"}``; None without a profiler."""
    profiler = _profiler("disabled")
    if profiler is None:
        return None
    with profiler:
        work()
    return _tree_of(profiler)


async def profiled_task(work: Callable[[], Awaitable[object]]) -> dict[str, Any] | None:
    """Return the call tree of `work`; what it awaits counts as time of who awaits it."""
    profiler = _profiler("enabled")
    if profiler is None:
        return None
    with profiler:
        await work()
    return _tree_of(profiler)


def _profiler(async_mode: Literal["enabled", "disabled"]) -> Profiler | None:
    try:
        from pyinstrument import Profiler
    except ModuleNotFoundError:
        return None
    return Profiler(interval=INTERVAL_SECONDS, async_mode=async_mode)


def _tree_of(profiler: Profiler) -> dict[str, Any] | None:
    from pyinstrument.processors import aggregate_repeated_calls

    session = profiler.last_session
    root = None if session is None else aggregate_repeated_calls(session.root_frame(), {})
    if root is None:
        return None
    work = _started_here(root) or root
    return _tree(work, work.time * SMALLEST)


def _started_here(frame: Frame) -> Frame | None:
    """Return the frame that called the work: what is above it is of whoever wanted to know."""
    if frame.file_path == __file__:
        return frame
    return next((found for child in frame.children if (found := _started_here(child))), None)


def _tree(frame: Frame, least: float) -> dict[str, Any]:
    return {
        "name": _name(frame),
        "ms": round(frame.time * 1000, 2),
        "children": [_tree(child, least) for child in frame.children if child.time >= least],
    }


def _name(frame: Frame) -> str:
    path = frame.file_path_short or ""
    return f"{frame.function} ({path}:{frame.line_no})" if path else frame.function
