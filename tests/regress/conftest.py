"""What tests of observations share."""

import pytest

from kinestream.models import Models


@pytest.fixture(scope="package")
def models() -> Models:
    """The shipped ones."""
    return Models.load(engine="torch")
