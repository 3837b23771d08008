"""Tell what the process does: events, metrics, spans, durations."""
