"""Small networks of the two bundles."""

import pytest
from small_cases import training


@pytest.fixture(scope="session")
def eye(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eye") / "training"
    return training(folder, dimensions=2, roi_size=[32, 32])


@pytest.fixture(scope="session")
def pancreas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pancreas") / "training"
    ids = {"roi_size": [16, 16, 16], "spacing": [6.0, 6.0, 6.0]}
    regions = {"pancreas": [1, 2], "tumour": [2]}
    return training(folder, dimensions=3, regions=regions, **ids)
