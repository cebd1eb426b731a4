"""`python -m llm_core space`: its options, and what it prints.

Each command imports what it needs when it runs, since `--help` should not wait for the Hub's library.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.errors import SpaceError
from llm_core.terminal import printable

if TYPE_CHECKING:
    from llm_core.space.plan import Plan
    from llm_core.space.spacefile import Spacefile
    from llm_core.space.wait import Waiting

_CLONE = Path(__file__).resolve().parents[2]
ROOT = _CLONE if (_CLONE / "Spacefile").is_file() else Path.cwd()
"""The repository: the clone that this file is in; where it is installed as a package, the folder it is called in."""
BUILD_SECONDS = 1800

# The Hub's own rules, as for models.
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def add_space(commands: Any) -> None:
    """Adds the command and its three actions to a parser's."""
    space = commands.add_parser("space", help="put the app on a Hugging Face Space", allow_abbrev=False)
    actions = space.add_subparsers(title="commands", required=True, metavar="COMMAND")

    check = actions.add_parser("check", help="whether Spacefile, README.md and requirements fit", allow_abbrev=False)
    check.add_argument("--fix", action="store_true", help="write README.md's front matter as Spacefile has it")
    check.set_defaults(command=_check)

    build = actions.add_parser("build", help="write what would be uploaded into a folder", allow_abbrev=False)
    build.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder, or one that was built before")
    build.set_defaults(command=_build)

    deploy = actions.add_parser(
        "deploy",
        help="create or update a Space",
        description="Makes a Space what Spacefile says: creates it where it is not there, else changes what differs.",
        epilog="It needs a token of the Hub with write access: `hf auth login`, or HF_TOKEN. docs/spaces.md has more.",
        allow_abbrev=False,
    )
    deploy.add_argument("repo", metavar="OWNER/NAME", help="the Space")
    deploy.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    deploy.add_argument("--private", action="store_true", help="a Space that is created is for its owner only")
    deploy.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME",
        help="take this secret from the environment variable NAME in place of asking, where the Space lacks it",
    )
    deploy.add_argument(
        "--replace-secret", action="append", default=[], metavar="NAME", help="set it although the Space has it"
    )
    deploy.add_argument("--overwrite", action="store_true", help="replace a Space that this command did not make")
    deploy.add_argument("--compile", action="store_true", help="go on although the wheel index lacks the version")
    deploy.add_argument("--no-wait", action="store_true", help="do not wait until the Space runs")
    deploy.add_argument(
        "--timeout", type=float, default=BUILD_SECONDS, metavar="SECONDS", help=f"how long to wait; {BUILD_SECONDS}"
    )
    deploy.set_defaults(command=_deploy)


# ── check and build ──────────────────────────────────────────────────────────────────────────────────────────────────


def _check(options: argparse.Namespace) -> None:
    from llm_core.space import check, spacefile

    if options.fix and check.fix(ROOT, spacefile.load(ROOT)):
        print("README.md's front matter is written.")
    spec = check.load_checked(ROOT)
    print(f"Spacefile, README.md and requirements.txt fit: {spec.title}, gradio {spec.sdk_version}, {spec.hardware}.")


def _build(options: argparse.Namespace) -> None:
    from llm_core.space import build, check
    from llm_core.texts.told import size_text

    built = build.files(ROOT, check.load_checked(ROOT))
    build.write(options.folder, built)
    print(f"{options.folder}: {len(built)} files, {size_text(sum(map(len, built.values())))}")


# ── deploy ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _deploy(options: argparse.Namespace) -> None:
    """Everything that can be wrong is looked for before the first change."""
    from huggingface_hub import HfApi

    from llm_core.space import build, check, hub
    from llm_core.space.deploy import carry_out
    from llm_core.space.plan import plan
    from llm_core.space.wait import Waiting

    if not _REPO.fullmatch(options.repo):
        raise SpaceError(f"{options.repo!r} is not the name of a Space. Write OWNER/NAME.")
    spec = check.load_checked(ROOT)
    built = build.files(ROOT, spec)
    api = HfApi(library_name="llm-core")
    user = hub.sign_in(api)
    before = hub.read(api, options.repo)
    changes = plan(
        options.repo, spec, built, before, replace_secrets=options.replace_secret, overwrite=options.overwrite
    )
    for line in changes.lines():
        print(f"- {printable(line)}")
    _tell_of_leftovers(spec, changes)
    if changes.is_empty:
        print(f"{options.repo} is as it should be; nothing to change.")
    else:
        _check_wheels(spec, may_compile=options.compile)
        _check_secret_options(spec, options)
    if options.dry_run:
        print(f"Nothing was done (--dry-run; you are {user}).")
        return
    secrets = _secrets((*changes.new_secrets, *changes.replaced_secrets), {*options.secret, *options.replace_secret})
    commit = carry_out(api, changes, secrets, private=options.private, say=_say)
    if not options.no_wait:
        _wait(Waiting(api, options.repo, commit, _say), options.timeout)
    _print_links(api.endpoint, options.repo, is_private=options.private)


def _say(sentence: str) -> None:
    print(printable(sentence), flush=True)


def _tell_of_leftovers(spec: Spacefile, changes: Plan) -> None:
    """Secrets cannot be read back, so that one that is taken away by mistake would be lost."""
    if changes.before is None:
        return
    for name in sorted(changes.before.secrets - set(spec.secrets)):
        print(f"The Space has a secret {printable(name)} that Spacefile does not name; it is left alone.")


def _check_wheels(spec: Spacefile, *, may_compile: bool) -> None:
    from llm_core.space import requirements, wheels

    version = requirements.pin(ROOT, requirements.ENGINE) or ""
    listed = wheels.listed(spec.wheel_index, version)
    if listed is None:
        print(f"{spec.wheel_index} cannot be asked from here whether it has {requirements.ENGINE} {version}.")
    elif not listed and not may_compile:
        raise SpaceError(
            f"{spec.wheel_index} has no wheel of {requirements.ENGINE} {version} for Linux on x86-64, and a Space's "
            "build may time out before it has compiled one. Name another wheel_index, or try with --compile."
        )


def _check_secret_options(spec: Spacefile, options: argparse.Namespace) -> None:
    if unknown := sorted(set(options.secret) - set(spec.secrets)):
        raise SpaceError(f"{', '.join(unknown)}: not under secrets in Spacefile. Put the name there first.")


def _secrets(names: Sequence[str], from_environment: set[str]) -> Mapping[str, str]:
    """The values, from the environment for CI, else typed unseen; they are printed nowhere."""
    return {name: _secret(name, from_environment) for name in names}


def _secret(name: str, from_environment: set[str]) -> str:
    from llm_core.space.check import is_usable

    if name in from_environment:
        value = os.environ.get(name, "")
    elif sys.stdin.isatty():
        value = getpass(f"{name} (not shown): ")
    else:
        raise SpaceError(
            f"The secret {name} has no value. Set the environment variable {name}, and add --secret {name}."
        )
    if not value.strip():
        raise SpaceError(f"The value of the secret {name} is empty. Nothing was changed.")
    if not is_usable(name, value):
        raise SpaceError(f"{name} cannot have this value; see docs/settings.md. Nothing was changed.")
    return value


def _wait(waiting: Waiting, timeout: float) -> None:
    if waiting.run(timeout) == "asleep":
        print("The Space is deployed and does not run now: it wakes up with a visit, or on its page after a pause.")


def _print_links(endpoint: str, repo: str, *, is_private: bool) -> None:
    token = ', token="hf_..."' if is_private else ""
    print(
        f"""
{endpoint}/spaces/{repo}

from gradio_client import Client

client = Client("{repo}"{token})
messages = [{{"role": "user", "content": "Name three uses of a paper clip."}}]
print(client.predict(messages, 0.7, 80, api_name="/chat_complete"))"""
    )
