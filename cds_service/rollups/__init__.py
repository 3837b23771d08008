"""Count the alert log by day, so that pages never scan it: a pure function of the log, kept in the review database."""
