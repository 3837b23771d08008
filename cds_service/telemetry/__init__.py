"""Report what the process does: log events, metrics, traces, durations."""
