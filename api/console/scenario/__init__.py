"""What-if scenarios in sentences and in forms."""
