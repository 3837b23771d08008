"""Write the build sheet of an EHR: everything that its analyst types, copies or maps to connect this service."""

from cds_service.build_sheet.page import build_sheet_routes
from cds_service.build_sheet.sheet import build_sheet, known_ehrs

__all__ = ["build_sheet", "build_sheet_routes", "known_ehrs"]
