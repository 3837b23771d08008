"""Serve the CDS Hooks endpoints: discovery, service calls, feedback."""
