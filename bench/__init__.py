"""The benchmark: this project beside others, on one machine, in one run. `python -m bench --help`.

Figures from different runs or machines say little, so what counts are ratios within a run, taken in turns.
"""

import os

ENVIRONMENT = dict(os.environ)
"""As it was found. The engine's import changes how OpenMP's threads wait, which is ours and not that of the servers
that are measured beside it (docs/decisions/006)."""
