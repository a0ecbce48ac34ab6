"""What Ctrl-C does, from the first line of a command on.

Where there is nothing to put in order, a command ends at once: an exception might come in the midst
of an import, which can turn it into another. It is raised where a server or a process of its own
has to be stopped. While a what-if searches, the first Ctrl-C asks for the best plan so far.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn, Self

INTERRUPTED = 130
"""What a command exits with that Ctrl-C ended."""


def end_at_once() -> None:
    """Let Ctrl-C end this process, unless whoever started it had it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(_: int, __: FrameType | None) -> NoReturn:
    os.write(2, b"slotwright: interrupted\n")
    os._exit(INTERRUPTED)


@contextmanager
def raises() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in a block that has something to put in order."""
    if signal.getsignal(signal.SIGINT) is not _end:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _end)


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
        signal.signal(number, signal.default_int_handler)
        self.is_asked = True
        if self._end is not None:
            self._end()


@contextmanager
def block_sigint() -> Iterator[None]:
    """Hold Ctrl-C back; processes begun meanwhile never hear of it, from their first line on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
