"""Servers of several processes: `serve(url, "package.module:handler", workers=4)`."""

from transport.workers.parent import WorkerServer, serve_workers

__all__ = ["WorkerServer", "serve_workers"]
