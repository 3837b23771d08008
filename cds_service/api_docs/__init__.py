"""Describe the HTTP interface: an OpenAPI document, and a page that shows it."""

from cds_service.api_docs.document import describe_api
from cds_service.api_docs.page import docs_routes

__all__ = ["describe_api", "docs_routes"]
