"""`python -m keras_genimg`, the same as the command `keras-genimg`."""

import sys

from keras_genimg.cli import main

__all__ = []

if __name__ == "__main__":
    sys.exit(main())
