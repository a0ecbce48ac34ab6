"""The clinic's rows: read as the solver has them, edited, imported and exported."""
