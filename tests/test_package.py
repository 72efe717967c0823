import subprocess
import sys

import pytest

import sgmim
from sgmim.encoders.files import load_encoder


def test_the_package_is_imported_without_torch():
    program = "import sys, sgmim; print(sgmim.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == [sgmim.__version__, "False"]


def test_an_encoder_is_loaded_from_the_package_itself():
    assert sgmim.load_encoder is load_encoder


def test_what_is_not_there_is_missing_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'load_encodr'"):
        _ = sgmim.load_encodr
