"""Run what card authors need: cases, checks, samples, versions."""
