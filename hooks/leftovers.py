#!/usr/bin/env python3
"""The hook of pre-commit: says what an update left half done. Nothing is built or installed for it."""

import sys

from flask_bastion.leftovers import main  # found beside this file

if __name__ == "__main__":
    sys.exit(main())
