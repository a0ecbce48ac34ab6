"""Sessions: hours kept for some appointment types, and when they open and are released."""
