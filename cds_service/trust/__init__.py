"""Verify callers: which EHR may call this service, and which FHIR servers its calls may name.

`callers` chooses how callers are identified: unverified in the dev profile, else as one of the `registered` clients. The clients
stand in the site's `registry` (`client_fields`: its keys and their values). Their public keys come from the URL or the file that
the registry names (`keys`, `key_sets`). A token is read strictly (`tokens`), its claims are checked (`verify`), and it is
accepted once (`replay`). `refusal` lists the reasons for a 401, and `production` the conditions for a start in the production
profile. The rest of the program sees only `caller`.
"""

from cds_service.trust.caller import ANONYMOUS, Caller

__all__ = ["ANONYMOUS", "Caller"]
