"""`python -m cli`, which is what `keychest` becomes."""

import sys

from cli.main import main

sys.exit(main())
