"""The bundled model, its vocabulary alone, and an engine on it: the fixtures of the rooms below."""

from __future__ import annotations

from tests.chat.conftest import vocabulary as vocabulary
from tests.engine.conftest import engine as engine
from tests.engine.conftest import model as model
from tests.engine.conftest import model_path as model_path
from tests.engine.conftest import shared_engine as shared_engine
