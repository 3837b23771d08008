"""Check a running service from outside, as an EHR would: `cds-service doctor`."""
