"""Work done every hour."""
