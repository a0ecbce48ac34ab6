"""Whether the service is open to everyone: until the first API key is seen, and never again."""

from __future__ import annotations

from pathlib import Path


class KeylessAccess:
    """True until the first API key is seen; then false for good, in all processes of a service.

    Parameters
    ----------
    is_open
        Whether it is open now.
    file
        What processes that serve together share: once one of them has closed it, the file is gone
        and so it is closed for all.
    """

    def __init__(self, *, is_open: bool = False, file: Path | None = None) -> None:
        self._is_open = is_open
        self._file = file

    @property
    def is_open(self) -> bool:
        """Whether everyone may come in."""
        if self._is_open and self._file is not None:
            self._is_open = self._file.exists()
        return self._is_open

    def close(self) -> None:
        """Close it for good, in all processes."""
        self._is_open = False
        if self._file is not None:
            self._file.unlink(missing_ok=True)
