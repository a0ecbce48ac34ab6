"""Equipment that moves: pools, and what types take from them."""
