"""Ctrl-C that asks for an end in good order, from the first line of a command on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

INTERRUPTED = 130
"""What a command exits with that Ctrl-C ended."""


class Interrupt:
    """The first Ctrl-C asks for an end, also while nobody listens yet; the second interrupts.

    A context manager, for the main thread.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._end: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def ends(self, end: Callable[[], None]) -> Iterator[None]:
        """Call `end` when asked; at once if that has happened."""
        self._end = end
        if self.is_asked:
            end()
        try:
            yield
        finally:
            self._end = None

    def _ask(self, number: int, _: FrameType | None) -> None:
        signal.signal(number, self._before)
        self.is_asked = True
        if self._end is not None:
            self._end()


@contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back; processes begun meanwhile never hear of it, from their first line on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
