"""Run the commands of `cds-service`."""
