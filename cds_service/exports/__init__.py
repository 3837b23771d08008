"""Hand out the log: rows of cards or evaluations as CSV, NDJSON, Parquet or FHIR, streamed and audited.

The log is append-only and numbered, so a snapshot is the newest number of each source: an export reads in short transactions
and holds nothing up, however long it takes (decision 0029).
"""
