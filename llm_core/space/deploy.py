"""Carries a plan out, so that a Space is either as planned afterwards or as it was before.

The order makes that so. What can be undone comes first: variables, new secrets, volumes, hardware. The files follow in
one commit, which happens or does not. Only then come secrets that are replaced, which cannot be undone, since the Hub
does not give their old values back. A Space that this deploy has made is removed again where the files do not arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, SpaceHardware

from llm_core.errors import SpaceError
from llm_core.space import hub, volumes
from llm_core.space.hub import SERVER_FAULT, SPACE, RemoteSpace, explained, status_of
from llm_core.space.plan import FRESH, Plan

COMMIT_MESSAGE = "Deploy with python -m llm_core space deploy"
NOT_FOUND = 404

Say = Callable[[str], None]
Act = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Step:
    """One call to the Hub.

    Attributes:
        what: Says what it does, as in "set the variable A".
        do: Does it.
        undo: Brings back what was before; None where there is nothing to bring back.
    """

    what: str
    do: Act
    undo: Act | None


def carry_out(api: HfApi, plan: Plan, secrets: Mapping[str, str], *, private: bool, say: Say) -> str | None:
    """Changes the Space.

    Args:
        api: The Hub.
        plan: What to change.
        secrets: The values of the plan's secrets.
        private: Whether a Space that has to be made is for its owner only.
        say: Is told each step.

    Returns:
        The new commit; None where the files are as they were.

    Raises:
        SpaceError: A step failed. The Space is as it was, unless the message says what is not.
    """
    if plan.before is None:
        steps: Iterator[Step] = iter([_creation(api, plan, secrets, private)])
    else:
        steps = _changes(api, plan, plan.before, secrets)
    begun: list[Step] = []
    try:
        for step in steps:
            say(_sentence(step.what))
            begun.append(step)
            try:
                with explained(step.what, plan.repo):
                    step.do()
            except SpaceError as error:
                if not _may_have_happened(error):
                    begun.pop()
                raise
        commit = _upload(api, plan, say)
    except BaseException as error:  # Ctrl-C must not leave it half-way either
        left = _undo(begun, say)
        after = " ".join(left) or ("Nothing was made." if plan.before is None else "The Space is as it was.")
        if isinstance(error, SpaceError):
            raise SpaceError(f"{error.message} {after}") from error
        say(after)
        raise
    for name in plan.replaced_secrets:
        say(f"Replace the secret {name}")
        with explained(f"replace the secret {name} (all else is done; deploy again for this one)", plan.repo):
            api.add_space_secret(plan.repo, name, secrets[name])
    return commit


def _sentence(what: str) -> str:
    return what[:1].upper() + what[1:]


def _creation(api: HfApi, plan: Plan, secrets: Mapping[str, str], private: bool) -> Step:
    """One call, so that a Space with half of its settings never exists."""
    create = partial(
        api.create_repo,
        plan.repo,
        repo_type=SPACE,
        private=private or None,
        space_sdk="gradio",
        space_hardware=_hardware(plan.hardware),
        space_variables=[{"key": name, "value": value} for name, value in plan.set_variables.items()],
        space_secrets=[{"key": name, "value": secrets[name]} for name in plan.new_secrets],
        space_volumes=[volumes.parse(volume) for volume in plan.volumes or ()],
    )
    return Step(f"create the Space {plan.repo}", create, partial(_remove_new, api, plan.repo))


def _remove_new(api: HfApi, repo: str) -> None:
    """Removes a Space that was just made, and never one that has something in it."""
    made = hub.read(api, repo)
    if made is not None and set(made.files) <= FRESH:
        api.delete_repo(repo, repo_type=SPACE)


def _changes(api: HfApi, plan: Plan, before: RemoteSpace, secrets: Mapping[str, str]) -> Iterator[Step]:
    """All but the files and what cannot be undone."""
    repo = plan.repo
    back: Act | None
    for name, value in plan.set_variables.items():
        back = (
            partial(api.add_space_variable, repo, name, before.variables[name])
            if name in before.variables
            else partial(api.delete_space_variable, repo, name)
        )
        yield Step(f"set the variable {name}", partial(api.add_space_variable, repo, name, value), back)
    for name in plan.remove_variables:
        back = partial(api.add_space_variable, repo, name, before.variables[name])
        yield Step(f"remove the variable {name}", partial(api.delete_space_variable, repo, name), back)
    for name in plan.new_secrets:
        back = partial(api.delete_space_secret, repo, name)
        yield Step(f"set the secret {name}", partial(api.add_space_secret, repo, name, secrets[name]), back)
    if plan.volumes is not None:
        mount = partial(_mount, api, repo, plan.volumes)
        yield Step("change the volumes", mount, partial(_mount, api, repo, before.volumes))
    if plan.hardware is not None:
        ask = partial(api.request_space_hardware, repo, _hardware(plan.hardware))
        back = partial(api.request_space_hardware, repo, _hardware(before.hardware)) if before.hardware else None
        yield Step(f"ask for the hardware {plan.hardware}", ask, back)


def _hardware(name: str | None) -> SpaceHardware:
    """The library sends the name as it is, also where its own list lacks it."""
    return cast(SpaceHardware, name)


def _mount(api: HfApi, repo: str, wanted: Sequence[str]) -> None:
    api.set_space_volumes(repo, [volumes.parse(volume) for volume in wanted])


def _upload(api: HfApi, plan: Plan, say: Say) -> str | None:
    """All files in one commit, on top of what was read: where somebody else was faster, the Hub refuses."""
    if not plan.upload and not plan.remove:
        return None
    say(f"Upload {len(plan.upload)} files" + (f", remove {len(plan.remove)}" if plan.remove else ""))
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        *(CommitOperationAdd(name, data) for name, data in plan.upload.items()),
        *(CommitOperationDelete(name, is_folder=False) for name in plan.remove),
    ]
    try:
        with explained("upload the files", plan.repo):
            made = api.create_commit(
                plan.repo,
                operations,
                commit_message=COMMIT_MESSAGE,
                repo_type=SPACE,
                parent_commit=plan.before.commit if plan.before else None,
            )
            return str(made.oid)
    except SpaceError as error:
        if _may_have_happened(error) and (commit := _arrived(api, plan)):
            return commit
        raise


def _arrived(api: HfApi, plan: Plan) -> str | None:
    """The commit, where it was made although its answer was lost."""
    try:
        now = hub.read(api, plan.repo)
    except SpaceError:
        return None
    if now is None or not all(hub.is_same(data, now.files.get(name)) for name, data in plan.upload.items()):
        return None
    return None if set(plan.remove) & set(now.files) else now.commit


def _undo(begun: Sequence[Step], say: Say) -> list[str]:
    """Undoes steps, the last one first. Returns a sentence for each that is not undone."""
    left = []
    for step in reversed(begun):
        if step.undo is None:
            continue
        say(f"Undo: {step.what}")
        try:
            with explained(f"undo this: {step.what}", ""):
                step.undo()
        except SpaceError as failed:
            if status_of(failed) != NOT_FOUND:  # what is gone need not be taken away
                left.append(f"{failed.message} Undo it by hand.")
    return left


def _may_have_happened(error: SpaceError) -> bool:
    """Whether the Hub may have done what it was asked, since it gave no clear refusal."""
    status = status_of(error)
    return status is None or status >= SERVER_FAULT
