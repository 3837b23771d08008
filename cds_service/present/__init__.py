"""Draw decisions as CDS Hooks cards and suggestions."""
