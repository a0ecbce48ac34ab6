"""The grammar of a clinic's rows: what has to hold of one row, whatever other rows there are."""
