"""The web server: its processes, ports and protocol."""
