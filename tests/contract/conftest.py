import pytest
from matrix import Lazy, fitted


@pytest.fixture(scope="session")
def trained():
    """One model of each kind after a little training. Tests change none but its noise."""
    return Lazy(fitted)
