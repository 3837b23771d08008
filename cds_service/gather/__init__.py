"""Gather the data of a call: prefetch, else FHIR queries within one deadline."""
