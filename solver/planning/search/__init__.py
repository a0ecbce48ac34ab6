"""The search for one plan: exact where the problem is small, a portfolio where it is large."""
