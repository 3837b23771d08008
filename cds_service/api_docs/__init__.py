"""Describe the HTTP interface: an OpenAPI document, and a page that shows it."""

from cds_service.api_docs.document import describe_api

__all__ = ["describe_api"]
