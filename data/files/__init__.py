"""The clinic file and the run file: their fields, and every fault named."""
