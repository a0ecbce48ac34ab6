"""Events that callers listen to."""
