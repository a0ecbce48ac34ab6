"""Rule 8, sessions, as the checker reads it and as a whole book is read."""
