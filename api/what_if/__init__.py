"""What-if runs over HTTP, and the processes that carry them out."""
