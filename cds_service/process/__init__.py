"""Run a server process: health, self-check, limits of connections, shutdown."""
