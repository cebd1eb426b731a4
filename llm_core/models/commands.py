"""`python -m llm_core model`: its options, and what they print.

Each command imports what it needs when it runs, since `--help` should not wait for the Hub's or llama.cpp's library.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.errors import ModelError
from llm_core.models.size import size_on_disk
from llm_core.terminal import printable
from llm_core.texts.told import size_text

if TYPE_CHECKING:
    from llm_core.models.header import ModelHeader
    from llm_core.models.here import MemoryFit, ModelHere, Wish
    from llm_core.models.info import ModelInfo
    from llm_core.models.search import FoundRepo
    from llm_core.models.source import ModelSource, ResolvedModel
    from llm_core.settings import Settings
    from llm_core.task import Task

_SPEC_HELP = "bundled, the path of a .gguf file, or hf:OWNER/REPO[:FILE-OR-GLOB][@REVISION]"
_FIT_WORDS = {"fits": "fits", "tight": "tight", "too_large": "too large"}
_GB = 1_000_000_000


def add_model(commands: Any) -> None:
    """Adds the command and its actions to a parser's."""
    model = commands.add_parser("model", help="find, fetch, inspect and remove models", allow_abbrev=False)
    actions = model.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = actions.add_parser("list", help="the models on this machine", allow_abbrev=False)
    _add_common(listing, "as a JSON list")
    listing.set_defaults(command=_list)

    search = actions.add_parser(
        "search",
        help="find models on the Hub, or list those of a repository",
        description="Finds repositories of the Hub with models in GGUF format. With hf:OWNER/REPO, lists its models.",
        allow_abbrev=False,
    )
    search.add_argument("words", nargs="*", metavar="WORD", help="a repository's name has it; or hf:OWNER/REPO")
    search.add_argument(
        "--sort",
        choices=("downloads", "likes", "trending", "updated"),
        default="downloads",
        help="what comes first; default: downloads",
    )
    search.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many, up to 100; default: 20")
    _add_common(search, "as a JSON list")
    search.set_defaults(command=_search)

    recommend = actions.add_parser("recommend", help="good chat models, and which fit this machine", allow_abbrev=False)
    _add_common(recommend, "as a JSON list")
    recommend.set_defaults(command=_recommend)

    pull = actions.add_parser(
        "pull",
        help="download a model, and again where it is damaged",
        description="Downloads a model. What came of a download that was broken off is not fetched again.",
        allow_abbrev=False,
    )
    pull.add_argument("spec", metavar="SPEC", help=_SPEC_HELP)
    pull.set_defaults(command=_pull)

    remove = actions.add_parser("rm", help="remove a model from this machine", allow_abbrev=False)
    remove.add_argument("spec", metavar="SPEC", help="hf:OWNER/REPO[:FILE][@REVISION], or a file below LLM_MODELS_DIR")
    remove.set_defaults(command=_remove)

    info = actions.add_parser("info", help="what a model is", allow_abbrev=False)
    info.add_argument("spec", nargs="?", metavar="SPEC", help=f"{_SPEC_HELP}; default: LLM_MODEL")
    _add_common(info, "as one JSON object")
    info.set_defaults(command=_info)


def _add_common(parser: argparse.ArgumentParser, json_help: str) -> None:
    parser.add_argument(
        "--memory", type=_gigabytes, metavar="GB", help="judge for so much memory in place of what is free"
    )
    parser.add_argument("--json", action="store_true", help=json_help)


def _gigabytes(text: str) -> int:
    size = float(text)
    if not 0 < size < 1e6:
        raise ValueError
    return int(size * _GB)


# ── what is here ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _list(options: argparse.Namespace) -> None:
    from llm_core.models.here import Wish, models_here
    from llm_core.models.served import served_models
    from llm_core.models.source import BundledModel, parse_source
    from llm_core.settings import Settings

    settings = Settings.load()
    wish = Wish.of(settings, options.memory)
    chosen = [parse_source(model.source) for model in served_models(settings) if model.server_url is None]
    chosen_paths = {_path_of(source, "LLM_MODEL: ") for source in chosen}
    if BundledModel() not in chosen:
        _path_of(BundledModel(), "")
    here = models_here(wish, models_dir=settings.models_dir, also=chosen)
    if options.json:
        _print_json([_json_row(model, is_chosen=model.resolved.path in chosen_paths) for model in here])
        return
    rows = [("", "MODEL", "SIZE", "FIT", "TASK", "LICENCE")]
    rows += [("*" if model.resolved.path in chosen_paths else "", *_row(model)) for model in here]
    _print_table(rows)
    print(printable(f"* is {'LLM_MODELS' if settings.models else 'LLM_MODEL'}: {', '.join(map(str, chosen))}"))
    print(f"FIT is for {_judged_for(wish)}.")


def _path_of(source: ModelSource, whose: str) -> Path | None:
    """Where a model is; None where it is not here, which stderr says."""
    from llm_core.models.resolve import find

    try:
        return find(source).path
    except ModelError as error:
        print(printable(f"{whose}{error.message}"), file=sys.stderr)
        return None


def _row(model: ModelHere) -> tuple[str, str, str, str, str]:
    source, size = str(model.resolved.source), size_text(size_on_disk(model.resolved.path))
    if model.problem is not None or model.info is None or model.memory is None:
        return source, size, "", "", f"cannot be used: {model.problem}"
    return source, size, _FIT_WORDS[model.memory.fit], model.info.task or "", model.info.license or "not stated"


def _json_row(model: ModelHere, *, is_chosen: bool) -> dict[str, Any]:
    facts = {"source": str(model.resolved.source), "path": model.resolved.path, "revision": model.resolved.revision}
    if model.info is None:
        facts["size_bytes"] = size_on_disk(model.resolved.path)
    else:
        facts |= asdict(model.info)
    return facts | {"chosen": is_chosen, "memory": _memory_json(model.memory), "problem": model.problem}


def _memory_json(memory: MemoryFit | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    return {**asdict(memory.need), "total": memory.need.total} | {
        "context": memory.context,
        "slots": memory.slots,
        "fit": memory.fit,
    }


def _replies(slots: int) -> str:
    return "1 reply" if slots == 1 else f"{slots} replies"


def _judged_for(wish: Wish) -> str:
    from llm_core.settings import DEFAULT_CONTEXT_TOKENS

    context = f"{wish.context} tokens" if wish.context else f"up to {DEFAULT_CONTEXT_TOKENS} tokens"
    return f"{size_text(wish.bound)} of memory and {_replies(wish.slots)} at a time of {context} each"


# ── what there is on the Hub ─────────────────────────────────────────────────────────────────────────────────────────


def _search(options: argparse.Namespace) -> None:
    if options.words and options.words[0].startswith("hf:"):
        _list_repository(options)
        return
    from llm_core.models.search import search_hub

    found = search_hub(" ".join(options.words), order=options.sort, limit=options.limit)
    if options.json:
        _print_json([asdict(repo) for repo in found])
        return
    rows = [("REPOSITORY", "DOWNLOADS", "LIKES", "LICENCE")]
    rows += [(f"hf:{repo.repo}", f"{repo.downloads:,}", f"{repo.likes:,}", _license_text(repo)) for repo in found]
    _print_table(rows)
    print("Nothing was found." if not found else "What one has: python -m llm_core model search hf:OWNER/REPO")


def _license_text(repo: FoundRepo) -> str:
    return (repo.license or "not stated") + (", to be accepted on its page first" if repo.gated else "")


def _list_repository(options: argparse.Namespace) -> None:
    from llm_core.memory import free_memory
    from llm_core.models.fit import fit_of
    from llm_core.models.search import models_of
    from llm_core.models.source import HubModel, parse_source

    source = parse_source(options.words[0])
    if len(options.words) > 1 or not isinstance(source, HubModel) or source.file:
        raise ModelError("Name one repository, without a file: python -m llm_core model search hf:OWNER/REPO")
    bound = free_memory() if options.memory is None else options.memory
    fits = [
        (model, None if model.size_bytes is None else fit_of(model.size_bytes, bound))
        for model in models_of(source.repo, source.revision)
    ]
    if options.json:
        _print_json([asdict(model) | {"source": str(model.source), "fit": word} for model, word in fits])
        return
    rows = [("MODEL", "SIZE", "QUANTIZATION", "FIT")]
    rows += [
        (
            str(model.source),
            "unknown" if model.size_bytes is None else size_text(model.size_bytes),
            model.quantization or "unknown",
            _FIT_WORDS[word] if word else "unknown",
        )
        for model, word in fits
    ]
    _print_table(rows)
    print(f"FIT is of the weights alone, for {size_text(bound)} of memory." if fits else "It has no .gguf file.")


def _recommend(options: argparse.Namespace) -> None:
    from llm_core.models.here import MemoryFit, Wish
    from llm_core.models.recommended import best_of, recommended
    from llm_core.settings import DEFAULT_CONTEXT_TOKENS, Settings

    wish = Wish.of(Settings.load(), options.memory)
    context = wish.context or DEFAULT_CONTEXT_TOKENS
    every = recommended(wish.bound, slots=wish.slots, context=context, kv_type=wish.kv_type)
    best = best_of(every)
    if options.json:
        _print_json(
            [
                {
                    "source": str(each.model.source),
                    "name": each.model.name,
                    "size_bytes": each.model.size_bytes,
                    "parameters": each.model.parameters,
                    "context_train": each.model.context_train,
                    "license": each.model.license,
                    "why": each.model.why,
                    "memory": _memory_json(MemoryFit(each.context, wish.slots, each.need, each.fit)),
                    "best": each == best,
                }
                for each in every
            ]
        )
        return
    rows = [("", "MODEL", "SIZE", "NEEDS", "FIT", "LICENCE")]
    rows += [
        (
            "*" if each == best else "",
            each.model.name,
            size_text(each.model.size_bytes),
            size_text(each.need.total),
            _FIT_WORDS[each.fit],
            each.model.license,
        )
        for each in every
    ]
    _print_table(rows)
    print(f"NEEDS and FIT are for {_judged_for(wish)}.")
    if best is not None:
        print(f"* is the best that fits. {best.model.why}")
        print(f"Fetch it with: python -m llm_core model pull {best.model.source}")


# ── one model ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pull(options: argparse.Namespace) -> None:
    from llm_core.models.resolve import resolve
    from llm_core.models.source import parse_source

    resolved = resolve(parse_source(options.spec), on_progress=lambda _done, _message: None, bar=True, mends=True)
    rows = [("file", str(resolved.path)), ("licence", _facts(resolved).license or "not stated")]
    if resolved.pin:
        rows += [("commit", str(resolved.revision)), ("pin it", f"LLM_MODEL={resolved.pin}")]
    _print_table(rows)


def _remove(options: argparse.Namespace) -> None:
    from llm_core.models.removal import remove_model
    from llm_core.models.source import parse_source
    from llm_core.settings import Settings

    removed = remove_model(parse_source(options.spec), models_dir=Settings.load().models_dir)
    for file in removed.files:
        print(printable(f"removed {file}"))
    shared = "" if removed.freed_bytes else "; the same bytes are there under another name"
    print(f"{size_text(removed.freed_bytes)} are free now{shared}.")


def _info(options: argparse.Namespace) -> None:
    from llm_core.models.header import read_model_header
    from llm_core.models.here import Wish, memory_fit
    from llm_core.models.resolve import find
    from llm_core.models.served import served_models
    from llm_core.models.source import HubModel, parse_source
    from llm_core.settings import Settings

    settings = Settings.load()
    resolved = find(parse_source(options.spec or served_models(settings)[0].source))
    info = replace(_facts(resolved), computed_as=_computed_as(resolved, settings))
    header, wish = read_model_header(resolved.path), Wish.of(settings, options.memory)
    memory = memory_fit(resolved.path, header, wish)
    if isinstance(resolved.source, HubModel):
        from llm_core.models.hub import is_replaced

        if is_replaced(resolved):
            fetch_it = f"python -m llm_core model pull '{info.source}'"
            print(printable(f"The Hub has another file in its place now. Fetch it with: {fetch_it}"), file=sys.stderr)
    if options.json:
        _print_json(asdict(info) | {"has_tools": header.has_tools, "memory": _memory_json(memory)})
        return
    _print_table(
        [
            ("name", info.name),
            ("task", str(info.task)),
            ("source", info.source),
            ("file", str(info.path)),
            *([("commit", info.revision)] if info.revision else []),
            ("architecture", info.architecture),
            ("quantization", info.quantization),
            *([("computed as", f"{info.computed_as}, which is faster on this machine")] if info.computed_as else []),
            ("parameters", f"{info.parameters / 1e6:,.1f} million" if info.parameters else "unknown"),
            ("size", size_text(info.size_bytes)),
            ("context", f"trained for {info.context_train} tokens" if info.context_train else "unknown"),
            ("memory", _memory_text(memory, wish, info.task)),
            ("licence", info.license or "not stated"),
            *(_of_chat(info, header) if info.task == "chat" else ()),
        ]
    )


def _of_chat(info: ModelInfo, header: ModelHeader) -> list[tuple[str, str]]:
    return [
        ("chat template", "yes" if info.has_chat_template else "no"),
        ("thinking", "can be switched" if info.can_switch_thinking else "no switch"),
        ("tools", "in its template" if header.has_tools else "not in its template"),
    ]


def _memory_text(memory: MemoryFit, wish: Wish, task: Task | None) -> str:
    need = memory.need
    if task != "chat":
        what = f"{size_text(need.total)} for texts of {memory.context} tokens (weights {size_text(need.weights)})"
        return f"{what}: {_FIT_WORDS[memory.fit]}, of {size_text(wish.bound)}"
    return (
        f"{size_text(need.total)} for {_replies(memory.slots)} of {memory.context} tokens (weights "
        f"{size_text(need.weights)}, keys and values {size_text(need.kv)}): {_FIT_WORDS[memory.fit]}, "
        f"of {size_text(wish.bound)}"
    )


def _facts(resolved: ResolvedModel) -> ModelInfo:
    """What llama.cpp says of a model, so that one which it does not know is refused. Reads no weights."""
    from llm_core.engine.llama.model import Model
    from llm_core.models.info import describe

    model = Model.load(resolved.path, vocab_only=True)
    try:
        return describe(model, resolved)
    finally:
        model.close()


def _computed_as(resolved: ResolvedModel, settings: Settings) -> str | None:
    """The form in which this machine computes a model, where that is not the file's."""
    from llm_core.cores import default_threads
    from llm_core.engine.llama.prepared import FORM, folder_of, known_copy

    if settings.prepare == "off":
        return None
    threads = settings.threads or default_threads()
    return FORM if known_copy(resolved.path, folder_of(settings.data_dir), threads=threads) else None


# ── what is printed ──────────────────────────────────────────────────────────────────────────────────────────────────


def _print_json(value: object) -> None:
    print(json.dumps(value, default=str, indent=2))


def _print_table(rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns. The texts may come from a model file, whose maker is a stranger to this terminal."""
    cleaned = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cleaned, strict=True)]
    for row in cleaned:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
