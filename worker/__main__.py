"""`python -m worker` is `moodstream`."""

import sys

from worker.cli.main import main

sys.exit(main())
