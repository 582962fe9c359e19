"""The TensorBoard plugin: what TensorBoard asks of it at its start, and nothing that takes time.

In:  TensorBoard's data provider.
Out: the tab's name and script; the routes, which are imported with the first request.
Does not know what the routes answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from tensorboard.plugins import base_plugin

from tb_gradients import schema
from tb_gradients.plugin.bundle import Bundle

TAB_NAME = "Gradient Health"

ROUTES = (
    "runs",
    "run",
    "verdict",
    "matrix",
    "marks",
    "series",
    "lane",
    "context",
    "histogram",
    "report",
    "rules",
    "*",
)


class GradientHealthPlugin(base_plugin.TBPlugin):  # type: ignore[misc, unused-ignore]
    """Serves the tab and its data."""

    plugin_name = schema.PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext, bundle: Bundle | None = None) -> None:
        self._provider = context.data_provider
        hints = context.sampling_hints or {}
        self._keeps_all = hints.get(schema.PLUGIN_NAME) == 0
        self._bundle = bundle or Bundle()
        self._lock = threading.Lock()
        self._apps: dict[str, Any] = {}

    def is_active(self) -> bool:
        """False: TensorBoard itself shows the tab as soon as there are data of ours."""
        return False

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(
            es_module_path=self._bundle.entry_path, tab_name=TAB_NAME
        )

    def get_plugin_apps(self) -> dict[str, Any]:
        return {f"/{name}": self._app(f"/{name}") for name in (*ROUTES, *self._bundle.files)}

    def _app(self, route: str) -> Callable[[Any, Any], Iterable[bytes]]:
        def answer(environ: Any, start_response: Any) -> Iterable[bytes]:
            with self._lock:
                if not self._apps:
                    from tb_gradients.plugin.routes import Routes

                    routes = Routes(self._provider, self._bundle, keeps_all=self._keeps_all)
                    self._apps = routes.apps()
            app: Callable[[Any, Any], Iterable[bytes]] = self._apps[route]
            return app(environ, start_response)

        return answer
