"""Trust: who may call this service, and which FHIR servers it may call on that caller's word.

`callers` tells who sent a request. It reads the site's `registry` of EHR clients, takes their keys from where the registry says
(`keys`), reads tokens (`tokens`), checks what they say (`verify`) and lets each be used once (`replay`). `production` holds what
must be true before the production profile starts. What the rest of the program needs to know of a caller stands in `caller`.
"""

from cds_service.trust.caller import ANONYMOUS, Caller, FhirBase

__all__ = ["ANONYMOUS", "Caller", "FhirBase"]
