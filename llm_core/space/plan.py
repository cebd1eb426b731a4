"""What a deploy would change: the difference between a Space as it is and as Spacefile wants it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from llm_core.errors import SpaceError
from llm_core.space import volumes
from llm_core.space.build import KEPT, MARKER
from llm_core.space.hub import RemoteSpace, is_same
from llm_core.space.spacefile import Spacefile

# What the Hub puts into a Space that has just been made.
FRESH = frozenset({"README.md", ".gitattributes"})
_SHOWN_FILES = 3


@dataclass(frozen=True)
class Plan:
    """The changes, all of them.

    Attributes:
        repo: `OWNER/NAME`.
        before: The Space as it is; None where it has to be made.
        set_variables: Those that are new or have another value.
        remove_variables: Those that Spacefile does not have.
        new_secrets: Names whose values the Space does not have.
        replaced_secrets: Names whose values it gets in place of those it has.
        hardware: The machine to ask for; None where it has it.
        volumes: What to mount, as Spacefile writes it; None where that is mounted.
        upload: Files that are new or differ.
        remove: Files that do not belong there.
    """

    repo: str
    before: RemoteSpace | None
    set_variables: Mapping[str, str] = field(default_factory=dict)
    remove_variables: tuple[str, ...] = ()
    new_secrets: tuple[str, ...] = ()
    replaced_secrets: tuple[str, ...] = ()
    hardware: str | None = None
    volumes: tuple[str, ...] | None = None
    upload: Mapping[str, bytes] = field(default_factory=dict)
    remove: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the Space is as it should be."""
        return self.before is not None and not list(self.lines())

    def lines(self) -> Iterator[str]:
        """Each change, for people. Values of variables are shown, since everyone can read them on the Space."""
        if self.before is None:
            yield f"create the Space {self.repo}"
        for name, value in self.set_variables.items():
            yield f"set the variable {name}={value}"
        for name in self.remove_variables:
            yield f"remove the variable {name}, which Spacefile does not have"
        for name in self.new_secrets:
            yield f"set the secret {name}"
        for name in self.replaced_secrets:
            yield f"replace the secret {name}"
        if self.volumes is not None:
            yield f"mount {', '.join(self.volumes)}" if self.volumes else "take all volumes off"
        if self.hardware is not None:
            was = f" in place of {self.before.hardware}" if self.before and self.before.hardware else ""
            yield f"ask for the hardware {self.hardware}{was}"
        if self.upload:
            yield f"upload {_files(self.upload)}"
        if self.remove:
            yield f"remove {_files(self.remove)}"


def plan(
    repo: str,
    spec: Spacefile,
    built: Mapping[str, bytes],
    before: RemoteSpace | None,
    *,
    replace_secrets: Collection[str] = (),
    overwrite: bool = False,
) -> Plan:
    """Compares.

    Args:
        repo: `OWNER/NAME`.
        spec: What the Space should be.
        built: The files that it should have.
        before: What it is.
        replace_secrets: Names of secrets that get a new value though the Space has one.
        overwrite: Whether a Space that this command did not make may be replaced.

    Raises:
        SpaceError: The Space is somebody's other work, or a secret is not in Spacefile.
    """
    if unknown := sorted(set(replace_secrets) - set(spec.secrets)):
        raise SpaceError(f"{', '.join(unknown)}: not under secrets in Spacefile. Put the name there first.")
    if before is None:
        return Plan(
            repo,
            None,
            set_variables=spec.environment(),
            new_secrets=spec.secrets,
            hardware=spec.hardware,
            volumes=spec.storage or None,
            upload=dict(built),
        )
    if not (overwrite or MARKER in before.files or set(before.files) <= FRESH):
        raise SpaceError(
            f"{repo} is a Space already, with {_files(before.files)}, and was not made by this command. Choose another "
            "name, or add --overwrite to replace all that is in it."
        )
    wanted = spec.environment()
    mounted = tuple(sorted(volumes.shown(volumes.parse(volume)) for volume in spec.storage))
    return Plan(
        repo,
        before,
        set_variables={name: value for name, value in wanted.items() if before.variables.get(name) != value},
        remove_variables=tuple(name for name in before.variables if name not in wanted),
        new_secrets=tuple(name for name in spec.secrets if name not in before.secrets),
        replaced_secrets=tuple(name for name in spec.secrets if name in before.secrets and name in replace_secrets),
        hardware=None if before.hardware == spec.hardware else spec.hardware,
        volumes=None if before.volumes == mounted else spec.storage,
        upload={name: data for name, data in built.items() if not is_same(data, before.files.get(name))},
        remove=tuple(name for name in before.files if name not in built and name not in KEPT),
    )


def _files(names: Collection[str]) -> str:
    first = sorted(names)[:_SHOWN_FILES]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return f"{len(names)} file{'s' if len(names) != 1 else ''} ({', '.join(first)}{more})"
