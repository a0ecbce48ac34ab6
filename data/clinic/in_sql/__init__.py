"""What of a clinic matters to a question, as conditions of SQL."""
