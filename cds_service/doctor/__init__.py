"""`cds-service doctor`: checks a running service from outside, as an EHR would."""
