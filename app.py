"""The app: one process, one port, one engine. Settings come from the environment; see the README."""

import sys

from llm_core.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve"]))
