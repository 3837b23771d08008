"""Decode FHIR JSON of three versions into typed structures, and validate emitted resources."""
