"""How large the context can be: what is asked, what the model was trained for, what the memory holds."""

from __future__ import annotations

import logging

from llm_core.engine.llama.model import Model
from llm_core.errors import SettingsError
from llm_core.kv_type import BLOCK, KvType
from llm_core.memory import free_memory
from llm_core.settings import DEFAULT_CONTEXT_TOKENS

log = logging.getLogger(__name__)

_LEAST_TOKENS = 256
_SHARE_OF_FREE_MEMORY = 0.7


def context_tokens(
    model: Model, *, wanted: int | None, slots: int, kv_type: KvType = "f16", free_bytes: int | None = None
) -> int:
    """Tokens of context for each slot.

    Args:
        model: The loaded model.
        wanted: What the operator asked for, None for the default.
        slots: Number of slots.
        kv_type: Of keys and values.
        free_bytes: Memory that may be used; None: what the system says is available.

    Raises:
        SettingsError: More was asked for than the model was trained for, or its heads cannot be kept in that type.
    """
    _check_heads(model, kv_type)
    trained = model.context_train or wanted or DEFAULT_CONTEXT_TOKENS
    if wanted is not None and wanted > trained:
        raise SettingsError(
            f"LLM_CONTEXT_TOKENS={wanted} (context_tokens in the file of LLM_MODELS) is more than the {trained} tokens "
            f"that {model.path.name} was trained for. Allowed: at most {trained}."
        )
    tokens = wanted or min(DEFAULT_CONTEXT_TOKENS, trained)
    free = free_memory() if free_bytes is None else free_bytes
    of_a_token = model.kv_bytes_per_token(kv_type) * slots
    fitting = int(free * _SHARE_OF_FREE_MEMORY / of_a_token)
    if fitting >= tokens:
        return tokens
    lowered = max(_LEAST_TOKENS, fitting // 256 * 256)
    log.warning(
        "memory is short: %d slots of %d tokens need %.1f GB, so each gets %d tokens",
        slots,
        tokens,
        of_a_token * tokens / 1e9,
        lowered,
    )
    return min(lowered, tokens)


def _check_heads(model: Model, kv_type: KvType) -> None:
    odd = [size for size in model.head_sizes if size % BLOCK]
    if kv_type != "f16" and odd:
        raise SettingsError(
            f"LLM_KV_TYPE={kv_type} cannot be used with {model.path.name}: its heads have {odd[0]} numbers, and "
            f"those of that type come in blocks of {BLOCK}. Allowed: f16."
        )
