"""Planners side by side on one instance: ours, greedy, the same rows as a MIP, and PyJobShop."""
