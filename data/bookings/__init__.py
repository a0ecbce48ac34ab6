"""The book: placements written, moved and judged, under the locks that keep every rule."""
