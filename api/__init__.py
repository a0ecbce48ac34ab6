"""The HTTP service and the commands."""
