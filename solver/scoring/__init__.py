"""The score of a placement."""
