"""What the commands do, a module for each thing they work on."""
