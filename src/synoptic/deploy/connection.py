"""A node's side of Flower's connection: sign in, fetch letters, send replies, give signs of life."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from synoptic.core import SynopticError
from synoptic.deploy import flower

BEAT = 10.0
"""The server takes a node for gone after twice as many seconds without a sign of life."""


UNDERWAY = 60.0
"""Seconds that the parts of one letter may be apart."""


UNSIGNED = 401
"""Status of a request whose signature is not of a known node, or whose time is too far off."""


class Disconnected(Exception):
    """The server cannot be reached, or does not know this node any more; signing in anew may help."""


class Refused(SynopticError):
    """The server does not let this node in; trying again does not help."""


@dataclass(frozen=True)
class Incoming:
    """A letter, and what Flower must know to take its reply."""

    content: bytes | None
    message: Any


class Connection:
    """One sign-in at a server, as a context.

    Args:
        address: host and port.
        ca: file of the certificates to trust (PEM); None for the system's.
        key: this node's private key (PEM); None makes one for the occasion.
        insecure: speak plain text.

    Raises:
        Refused: from entering the context, see there.
        Disconnected: from any method.
    """

    def __init__(self, address: str, ca: Path | None, key: bytes | None, insecure: bool) -> None:
        self._address = address
        self._own_key = key is not None
        keys: Any = flower.generate_key_pairs()
        if key is not None:
            private = flower.bytes_to_private_key(key)
            keys = (private, private.public_key())
        self._public = flower.public_key_to_bytes(keys[1])
        self._client = _client(address, ca, insecure, keys)
        self._node: Any = None
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Connection:
        try:
            if not self._own_key:
                self._call("RegisterNode", flower.RegisterNodeFleetRequest(public_key=self._public))
            request = flower.ActivateNodeRequest(public_key=self._public, heartbeat_interval=BEAT)
            self._node = flower.NodeProto(node_id=self._call("ActivateNode", request).node_id)
        except BaseException:
            self._client._client.close()
            raise
        self._beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if kind is not Disconnected:
            with contextlib.suppress(Disconnected, Refused):
                self._call("DeactivateNode", flower.DeactivateNodeRequest(node_id=self._node.node_id))
        self._beats.join(BEAT)
        self._client._client.close()

    def receive(self) -> Incoming | None:
        """The next letter, if there is one."""
        found = self._call("PullMessages", flower.PullMessagesRequest(node=self._node))
        if not found.messages_list:
            return None
        head, tree = flower.message_from_proto(found.messages_list[0]), found.message_object_trees[0]
        run, contents = head.metadata.run_id, {}
        for name in (part.object_id for part in flower.iterate_object_tree(tree)):
            contents[name] = self._fetch(run, name)
        confirm = flower.ConfirmMessageReceivedRequest(node=self._node, run_id=run, message_object_id=tree.object_id)
        self._call("ConfirmMessageReceived", confirm)
        message: Any = flower.inflate_object_from_contents(tree.object_id, contents)
        message.metadata.__dict__["_message_id"] = head.metadata.message_id
        return Incoming(flower.packed(message), message)

    def reply(self, asked: Incoming, content: bytes) -> None:
        """Send the reply to a letter; the server leaves one that is late, or a second one, where it is."""
        with flower.no_object_id_recompute():
            message = flower.reply_to(asked.message, content)
            message.metadata.__dict__["_message_id"] = message.object_id
            objects, tree = flower.get_all_nested_objects(message), flower.get_object_tree(message)
            head = flower.message_to_proto(flower.remove_content_from_message(message))
            run = message.metadata.run_id
            pushed = self._call("PushMessages", flower.PushMessagesRequest(
                node=self._node, messages_list=[head], message_object_trees=[tree], clientapp_runtime_list=[0.0]
            ))  # fmt: skip
            for name in pushed.objects_to_push:
                self._call("PushObject", flower.PushObjectRequest(
                    node=self._node, run_id=run, session_id=pushed.session_id, object_id=name,
                    object_content=objects[name].deflate(),
                ))  # fmt: skip

    def _fetch(self, run: int, name: str) -> bytes:
        request, until = (
            flower.PullObjectRequest(node=self._node, run_id=run, object_id=name),
            time.monotonic() + UNDERWAY,
        )
        while time.monotonic() < until:
            part = self._call("PullObject", request)
            if not part.object_found:
                break
            if part.object_available:
                return bytes(part.object_content)
            # A letter can be seen a moment before all of it lies at the server.
            time.sleep(0.005)
        raise Disconnected("the server did not finish a letter")

    def _live(self) -> None:
        while not self._ended.wait(BEAT / 2):
            # What is wrong shows at the next letter, in the thread that can do something about it.
            with contextlib.suppress(Disconnected, Refused):
                request = flower.SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=BEAT)
                self._call("SendNodeHeartbeat", request)

    def _call(self, name: str, request: Any) -> Any:
        try:
            return getattr(self._client, name)(request)
        except flower.httpx.HTTPStatusError as error:
            raise self._refusal(name, error) from error
        except flower.httpx.TransportError as error:
            raise self._trouble(error) from error

    def _refusal(self, name: str, error: Any) -> Exception:
        status = error.response.status_code
        if name == "ActivateNode" and self._own_key and status == UNSIGNED:
            return Refused(
                f"the server {self._address} does not take this node's signature",
                "set this machine's clock: it may be five minutes behind the server's, and five seconds ahead",
            )
        if name == "ActivateNode" and self._own_key:
            return Refused(
                f"the server {self._address} does not know this node's key",
                "put its .pub file into the server's --clients folder and start it again",
            )
        if name == "RegisterNode":
            return Refused(
                f"the server {self._address} takes only nodes with a key that it knows", "join with --key FILE"
            )
        if status == 413:
            return Disconnected("the reply is larger than the server takes")
        if status == UNSIGNED:
            return Disconnected("the server does not know this node any more, or this machine's clock was changed")
        return Disconnected(f"the server answered with status {status}")

    def _trouble(self, error: Exception) -> Exception:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return Refused(f"the certificate of {self._address} is not to be trusted ({cause.verify_message})",
                               "give --ca the file of whoever signed it, or renew it there")  # fmt: skip
            if isinstance(cause, ssl.SSLError):
                return Refused(f"{self._address} does not speak TLS as expected ({cause.reason})",
                               "check the port, and that the server was started with --tls")  # fmt: skip
            cause = cause.__cause__ or cause.__context__
        return Disconnected(f"no connection to {self._address} ({error or type(error).__name__})")


def _client(address: str, ca: Path | None, insecure: bool, keys: Any) -> Any:
    try:
        return flower.FleetHttpClient.from_server_address(
            address, insecure, None if insecure or ca is None else ca.read_bytes(),
            interceptors=[
                flower.RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                flower.NodeAuthHttpInterceptor(*keys),
            ],
        )  # fmt: skip
    except (OSError, ssl.SSLError, UnicodeDecodeError) as error:
        raise SynopticError(f"the certificates in {ca} cannot be read ({error})", "give --ca a PEM file") from error
