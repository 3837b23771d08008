"""Find what went wrong without anybody asking: detectors over the counts, and what people did about what they found."""
