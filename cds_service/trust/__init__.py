"""Trust: who may call this service, and which FHIR servers it may call on that caller's word.

`callers` tells who sent a request: anybody, or one of the `registered` clients. These stand in the site's `registry`; their
keys come from where the registry says (`keys`), tokens are read strictly (`tokens`), what they say is checked (`verify`), and
each is good once (`replay`). `production` holds what must be true before the production profile starts. What the rest of the
program needs to know of a caller stands in `caller`.
"""

from cds_service.trust.caller import ANONYMOUS, Caller

__all__ = ["ANONYMOUS", "Caller"]
