"""Which models are served, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition

from llm_core.backends.member import Member
from llm_core.errors import InvalidRequest, ModelError, ModelNotFound
from llm_core.models.served import ServedModel
from llm_core.models.source import BundledModel
from llm_core.settings import Settings
from llm_core.task import Task, cannot


class Registry:
    """The models that are served.

    Args:
        served: The first one is the default.
        settings: Of all of them.

    Attributes:
        members: All models, the default one first. Changed by replacing it.
        look_further: Finds a model that is not served yet by its name.
    """

    def __init__(self, served: Sequence[ServedModel], settings: Settings) -> None:
        self._settings = settings
        self._changed = Condition()  # guards the models, and what is known of each
        self.members = tuple(Member(each, each.settings(settings)) for each in served)
        self._answers_to_all = len(self.members) == 1
        self.look_further: Callable[[str], ServedModel | None] = lambda _name: None

    @property
    def default(self) -> Member:
        return self.members[0]

    def member(self, name: str = "") -> Member:
        """A model by its name or an alias; without one the default. The one that the operator has named answers to any
        name.

        Raises:
            ModelNotFound: There is none of that name; the message has those that there are.
        """
        if not name:
            return self._stand_in() or self.default
        if found := self.find(name):
            return found
        if further := self.look_further(name):
            return self.add(further)
        if self._answers_to_all:
            return self.default
        names = ", ".join(each.name for each in self.members)
        raise ModelNotFound(f"The model {name[:200]!r} is not here. There is: {names}.")

    def find(self, name: str) -> Member | None:
        """The model of a name or an alias, where it is served; None of any other."""
        spelled = (name, f"{name}:latest")  # an Ollama elsewhere lists so what it is asked for without a tag
        return next((each for one in spelled for each in self.members if one in each.names), None)

    def _stand_in(self) -> Member | None:
        """The bundled model for as long as the default one is being fetched, where it may answer in its place."""
        default = self.default
        if not self._settings.fallback or default.backend is None or default.status().state != "downloading":
            return None
        return self.add(ServedModel(source=str(BundledModel())))

    def add(self, served: ServedModel) -> Member:
        """Serves one more model from now on; the same one again is no other.

        Raises:
            ModelError: Another model has one of its names.
        """
        with self._changed:
            for member in self.members:
                if (member.served.source, member.served.server_url) == (served.source, served.server_url):
                    return member
                if taken := set(member.names) & set(served.names):
                    raise ModelError(f"Another model has the name {min(taken)!r} already.")
            member = Member(served, served.settings(self._settings))
            self.members = (*self.members, member)
        return member

    def member_for(self, name: str, *tasks: Task) -> Member:
        """The model of a name, which has to be for one of the tasks; without a name the first that is.

        Args:
            tasks: The likeliest first.

        Raises:
            ModelNotFound: There is none of that name.
            InvalidRequest: It is for something else; the message names those that can.
        """
        able = [each for task in tasks for each in self.members if each.task == task]
        member = able[0] if able and not name else self.member(name)
        self.check_task(member, *tasks)
        return member

    def check_task(self, member: Member, *tasks: Task) -> None:
        """Refuses what a model is not for, as far as that is known before it is loaded.

        Raises:
            InvalidRequest: It is for something else; the message names those that can.
        """
        task = member.task
        if task is not None and task not in tasks:
            others = [each.name for each in self.members if each.task in tasks]
            raise InvalidRequest(cannot(member.name, task, tasks[0], others), param="model")

    def _serve_no_more(self, member: Member) -> None:
        """Leaves a model out from now on. The default one stays."""
        with self._changed:
            self.members = tuple(each for each in self.members if each is not member or each is self.default)
