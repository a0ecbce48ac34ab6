"""The bridge between database rows and solver types."""
