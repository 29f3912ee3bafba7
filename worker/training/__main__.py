"""`python -m worker.training RECIPE`: the same as `moodstream train RECIPE`."""

import sys

from worker.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
