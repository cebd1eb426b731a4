"""Computes a few tokens of the bundled model, a chunk of a prompt and a single one: `python -m scripts.try_llama`.

What it finds out is whether it comes to its end: code that was compiled for another processor does not.
"""

from __future__ import annotations

import numpy as np

from llm_core.engine.llama.context import Batch, Context
from llm_core.engine.llama.model import Model
from llm_core.models.resolve import resolve
from llm_core.models.source import parse_source

CHUNK = 16


def main() -> None:
    model = Model.load(resolve(parse_source("bundled"), on_progress=lambda _done, _message: None).path)
    context = Context(model, slots=1, context_tokens=256, batch_tokens=CHUNK, threads=1)
    batch = Batch(CHUNK)
    for position, size in ((0, CHUNK), (CHUNK, 1)):
        batch.clear()
        batch.add(0, position, np.ones(size, np.int32), wants_logits=True)
        context.decode(batch)
    context.close()
    model.close()


if __name__ == "__main__":
    main()
