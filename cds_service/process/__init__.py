"""Run a server process: health, self-check, connection limits, shutdown."""
