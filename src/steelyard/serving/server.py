"""Running the server: an address, a socket, and a clean stop.

steelyard serve best.yaml --port 8000
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Unpack

from steelyard.contracts import LanguageModel
from steelyard.errors import UsageError

if TYPE_CHECKING:
    import uvicorn

    from steelyard.serving.limits import Limits

TOKEN_VARIABLE = "STEELYARD_TOKEN"
MAX_CONNECTIONS = 1000
STOP_SECONDS = 10


def serve(
    model: LanguageModel | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    announce: Callable[[str], None] | None = None,
    **limits: Unpack[Limits],
) -> None:
    """Serve ``model`` (or the model or system file of that name) until interrupted.

    ``port`` 0 picks a free one. ``announce`` is called once with the base URL, such as
    ``http://127.0.0.1:8000/v1``, when requests are taken; by default the URL is printed. ``token`` defaults to
    the environment variable ``STEELYARD_TOKEN``; an address other than loopback demands one. On SIGINT or
    SIGTERM running answers get ten seconds to end. ``limits`` are those of
    :func:`~steelyard.serving.app.create_app`. Raises :class:`UsageError` for an address that cannot be used.
    """
    token = checked_token(host, token)
    with contextlib.closing(listen(host, port)) as listener:
        server = _server(_loaded(model), host, token, limits)
        (announce or _print_address)(_base_url(host, listener))
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has stopped by then and only passes it on
            server.run(sockets=[listener])


@contextlib.contextmanager
def serving(
    model: LanguageModel | str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    **limits: Unpack[Limits],
) -> Iterator[str]:
    """Serve from a thread for as long as the ``with`` block lasts; gives the base URL.

    Example::

        with serving(model) as url:
            client = openai.OpenAI(base_url=url, api_key="unused")
    """
    token = checked_token(host, token)
    with contextlib.closing(listen(host, port)) as listener:
        server = _server(_loaded(model), host, token, limits)
        thread = threading.Thread(target=server.run, args=([listener],), name="steelyard-server", daemon=True)
        thread.start()
        try:
            yield _base_url(host, listener)
        finally:
            server.should_exit = True
            thread.join()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``; a name counts when all its addresses do."""
    if not host:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(
            f"the address {host!r} is not known on this machine; choose another with --host"
        ) from error
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def checked_token(host: str, token: str | None) -> str | None:
    """The token to demand: ``token``, else the environment's; none is fine on a loopback address only."""
    token = os.environ.get(TOKEN_VARIABLE) or None if token is None else token
    if token is None and not is_loopback(host):
        raise UsageError(
            f"{host or 'every address'} can be reached from other machines; give a token with --token or in "
            f"{TOKEN_VARIABLE}, or stay on 127.0.0.1"
        )
    return token


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; what is in the way is told in one line."""
    if not 0 <= port <= 65535:
        raise UsageError(f"port {port} does not exist; choose one from 1 to 65535, or 0 for any free one")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UsageError(
            f"the address {host!r} is not known on this machine; choose another with --host"
        ) from error
    listener = socket.socket(family, kind)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        message = f"cannot listen on {host} port {port} ({reason}); choose another with --port, or --port 0"
        raise UsageError(message) from error
    return listener


def _server(model: LanguageModel, host: str, token: str | None, limits: Limits) -> uvicorn.Server:
    import uvicorn

    from steelyard.serving.app import create_app
    from steelyard.serving.guard import LOOPBACK_HOSTS

    hosts = LOOPBACK_HOSTS | {host} if is_loopback(host) else None
    config = uvicorn.Config(
        create_app(model, token=token, hosts=hosts, **limits),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)


def _loaded(model: LanguageModel | str) -> LanguageModel:
    if not isinstance(model, str):
        return model
    from steelyard.systems.loading import load

    loaded: LanguageModel = load(model)
    return loaded


def _base_url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    # The wildcard addresses are for listening; this machine is reached at its loopback name.
    name = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/v1"


def _print_address(url: str) -> None:
    print(f"Serving at {url} (Ctrl-C stops)", flush=True)
