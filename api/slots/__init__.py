"""Slot queries over HTTP."""
