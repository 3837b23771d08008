"""Collect what a change of a card needs before clinicians see it: a reason, a proof, two signatures."""
