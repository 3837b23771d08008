"""Read FHIR resources about one patient into the facts that criteria look at."""
