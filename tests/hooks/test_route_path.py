"""Paths below the path of a proxy."""

from __future__ import annotations

import pytest

from cds_service.hooks.route_path import route_path


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/cds-services", "", "/cds-services"),
        ("/ehr/cds-services/x", "/ehr", "/cds-services/x"),
        ("/cds-services/x", "/ehr", "/cds-services/x"),
        ("/cds/cds-services", "/cds", "/cds-services"),
        ("/cds-services", "/cds", "/cds-services"),
        ("/other/cds-services", "/cds", "/other/cds-services"),
        ("/cds/cds/cds-services", "/cds", "/cds/cds-services"),
    ],
)
def test_only_a_whole_prefix_is_left_out(path: str, root: str, below: str) -> None:
    assert route_path({"type": "http", "path": path, "root_path": root}) == below


def test_a_server_need_not_name_a_root_path() -> None:
    assert route_path({"type": "http", "path": "/cds-services"}) == "/cds-services"
