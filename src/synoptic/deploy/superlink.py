"""Flower's SuperLink in this process, with one door: the API that nodes speak.

A stock SuperLink also opens an API by which anybody who reaches the port may start apps and register nodes. Here that
is not there at all; runs are started and node keys are read by the person who types ``synoptic serve``.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from synoptic.core import SynopticError
from synoptic.deploy import flower
from synoptic.deploy.bundle import NAME, VERSION, make_bundle
from synoptic.deploy.post import Arrived, Letter, Presence

STARTED = 20.0
"""Seconds that the server may take to listen."""

BEAT = 10.0
"""Seconds between signs of life of the run itself."""

LARGEST = 2**29
"""Bytes that one request may bring."""


@dataclass(frozen=True)
class Tls:
    """Files of the server's certificate and its key (PEM)."""

    certificate: Path
    key: Path


class SuperLink:
    """A `synoptic.deploy.post.Post` over sockets.

    Args:
        host, port: where to listen; port 0 takes a free one.
        tls: certificate and key; None speaks plain text.
        keys: PEM public keys of the nodes that may join, by name; None lets any node in.
        largest: bytes that a reply may have.

    Raises:
        SynopticError: the port is taken, or the certificate cannot be used.
    """

    def __init__(
        self, host: str, port: int, tls: Tls | None = None, keys: Mapping[str, bytes] | None = None,
        largest: int = LARGEST,
    ) -> None:  # fmt: skip
        self._largest = largest
        self._arriving: dict[str, Any] = {}
        self._factory = flower.get_objectstore_linkstate_factories(
            flower.FLWR_IN_MEMORY_DB_NAME, flower.get_federation_manager()
        )[1]
        self._state: Any = self._factory.state()
        self._signed_in: Counter[int] = Counter()
        self._activate = self._state.activate_node
        vars(self._state)["activate_node"] = self._sign_in
        self._names = {self._register(pem): name for name, pem in (keys or {}).items()}
        self._task = self._begin_run()
        self._socket = _listening(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._ended = threading.Event()
        self._web = uvicorn.Server(_config(self._app(keys is not None), host, self.port, tls))
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._live)]

    def __enter__(self) -> SuperLink:
        for thread in self._threads:
            thread.start()
        until = time.monotonic() + STARTED
        while not self._web.started:
            if time.monotonic() > until or not self._threads[0].is_alive():
                self.__exit__()
                raise SynopticError(
                    f"the server did not begin to listen on port {self.port}", "look at the messages above"
                )
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._web.should_exit = True
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(STARTED)
        self._socket.close()

    # -- the post -----------------------------------------------------------------------------------------------------

    def nodes(self) -> dict[int, Presence]:
        """See `synoptic.deploy.post.Post`."""
        there = self._state.get_nodes(self._task.run_id)
        return {int(node): Presence(self._names.get(node, ""), self._signed_in[node]) for node in there}

    def send(self, letters: Sequence[Letter], seconds: float) -> list[str]:
        """See `synoptic.deploy.post.Post`."""
        return [self._send(node, content, seconds) for node, content in letters]

    def collect(self, tickets: Collection[str]) -> list[Arrived]:
        """See `synoptic.deploy.post.Post`."""
        fresh = [ticket for ticket in tickets if ticket not in self._arriving]
        if fresh:
            request = flower.PullAppMessagesRequest(message_ids=fresh)
            found = flower.runtime_handlers.pull_messages(request, self._state, self._task)
            for head, tree in zip(found.messages_list, found.message_object_trees, strict=True):
                self._arriving[head.metadata.reply_to_message_id] = tree
        arrived = [self._fetch(ticket, self._arriving[ticket]) for ticket in tickets if ticket in self._arriving]
        done = [one for one in arrived if one is not None]
        for one in done:
            del self._arriving[one.ticket]
        return done

    def forget(self, tickets: Collection[str]) -> None:
        """See `synoptic.deploy.post.Post`."""
        self._state.delete_messages(set(tickets))
        for ticket in tickets:
            self._arriving.pop(ticket, None)

    def _send(self, node: int, content: bytes, seconds: float) -> str:
        with flower.no_object_id_recompute():
            message = flower.new_message(self._task.run_id, node, content, seconds)
            message.metadata.__dict__["_message_id"] = message.object_id
            objects, tree = flower.get_all_nested_objects(message), flower.get_object_tree(message)
            head = flower.message_to_proto(flower.remove_content_from_message(message))
            request = flower.PushAppMessagesRequest(messages_list=[head], message_object_trees=[tree])
            kept = flower.runtime_handlers.push_messages(request, self._state, self._task)
            for name in kept.objects_to_push:
                self._state.store_object(self._task.run_id, kept.session_id, name, objects[name].deflate())
        return str(kept.message_ids[0])

    def _fetch(self, ticket: str, tree: Any) -> Arrived | None:
        """The reply, or None while its node is still sending it."""
        contents: dict[str, bytes] = {}
        for name in (part.object_id for part in flower.iterate_object_tree(tree)):
            content = self._state.get_object(self._task.run_id, name)
            if content == b"":
                return None
            if content is None:
                return Arrived(ticket, None, "the node began a reply and did not finish it")
            contents[name] = content
        self._state.object_store.delete(tree.object_id)
        if (size := sum(map(len, contents.values()))) > self._largest:
            return Arrived(ticket, None, f"its reply has {size} bytes; at most {self._largest} are taken")
        try:
            message: Any = flower.inflate_object_from_contents(tree.object_id, contents)
            content = flower.packed(message)
        except Exception as error:
            # Whatever a stranger's bytes do to Flower's parser, the round goes on without them.
            return Arrived(ticket, None, f"its reply cannot be read ({error})")
        return Arrived(ticket, content, "" if content is not None else flower.why_empty(message))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _register(self, pem: bytes) -> int:
        # As Flower writes keys: the same key in another file's spelling is the same node.
        key = flower.public_key_to_bytes(flower.bytes_to_public_key(pem))
        return int(self._state.create_node(flower.NOOP_FLWR_AID, flower.NOOP_ACCOUNT_NAME, key, 0))

    def _sign_in(self, node: int, interval: float) -> bool:
        # Flower refuses a node that it believes to be there; one that was killed and started again has no other way.
        self._state.deactivate_node(node)
        taken = bool(self._activate(node, interval))
        self._signed_in[node] += taken
        return taken

    def _begin_run(self) -> Any:
        # Stock nodes fetch it; resident ones know what to do without.
        app = make_bundle()
        self._state.store_fab(app)
        run = self._state.create_run(
            NAME,
            VERSION,
            app.hash_str,
            {},
            flower.NOOP_FEDERATION_ID,
            None,
            flower.NOOP_FLWR_AID,
            flower.TaskType.SERVER_APP,
        )
        task = self._state.get_run_info(run_ids=[run])[0].primary_task_id
        token = self._state.claim_task(task)
        self._state.activate_task(task)
        return self._state.get_task_by_token(token)

    def _app(self, closed: bool) -> Any:
        app = flower.FastAPI(docs_url=None, redoc_url=None, openapi_url=None, middleware=[
            flower.Middleware(BodyLimit, largest=self._largest + 2**16),
            flower.Middleware(flower.BaseHTTPMiddleware, dispatch=flower.http_error_translator),
            flower.Middleware(flower.ProtobufTranslationMiddleware),
            flower.Middleware(flower.NodeAuthMiddleware),
        ])  # fmt: skip
        app.state.linkstate_factory = self._factory
        app.state.enable_supernode_auth = closed
        app.include_router(flower.fleet_router)
        return app

    def _listen(self) -> None:
        self._web.run(sockets=[self._socket])

    def _live(self) -> None:
        while not self._ended.wait(BEAT):
            self._state.acknowledge_task_heartbeat(self._task.task_id)


class BodyLimit:
    """Refuses a request whose body is too large, or does not say how large it is, before any of it is read."""

    def __init__(self, app: Callable[..., Awaitable[None]], largest: int) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """One request, as ASGI hands it over."""
        length = dict(scope.get("headers", [])).get(b"content-length", b"")
        if scope["type"] == "http" and not (length.isdigit() and int(length) <= self._largest):
            await send({"type": "http.response.start", "status": 413 if length else 411, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
        door.listen(128)
    except OSError as error:
        door.close()
        raise SynopticError(f"cannot listen on {host}:{port} ({error.strerror})",
                            "end what listens there, or take another port") from error  # fmt: skip
    return door


def _config(app: Any, host: str, port: int, tls: Tls | None) -> uvicorn.Config:
    return uvicorn.Config(
        app, host, port, log_level="critical", access_log=False, ws="none", lifespan="off", timeout_graceful_shutdown=2,
        ssl_certfile=str(tls.certificate) if tls else None, ssl_keyfile=str(tls.key) if tls else None,
    )  # fmt: skip
