"""The clinic's rows and files over HTTP."""
