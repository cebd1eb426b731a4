"""The benchmark: this project beside others, on one machine, in one run. `python -m bench --help`.

Figures from different runs or machines say little, so what counts are ratios within a run, taken in turns.
"""
