"""Gather the data of a call: from prefetch, else by FHIR queries within one deadline."""
