"""What-if runs: their queue, and a plan carried out."""
