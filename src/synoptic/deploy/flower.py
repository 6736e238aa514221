"""Every name that we take from Flower, most of them private to it: one place to mend when Flower moves on.

Nothing else in Synoptic imports ``flwr``. ``pyproject.toml`` allows 1.41 only, and a test holds that range to what is
imported here.
"""

from __future__ import annotations

import logging
import os

# Set before the first import, for Flower reads them once: no telemetry, no look for newer releases.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from flwr.app import ConfigRecord, Context, Message, Metadata, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.cli.build import build_fab_from_files
from flwr.clientapp import ClientApp
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, SUPERLINK_NODE_ID
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.serverapp import ServerApp
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID, TaskType
from flwr.supercore.date import now
from flwr.supercore.error import FlowerError
from flwr.supercore.error.http import http_error_translator
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
)
from flwr.supercore.protobuf.translation import ProtobufTranslationMiddleware
from flwr.superlink.config_loader import get_federation_manager, get_objectstore_linkstate_factories
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware
from flwr.superlink.routers.fleet.router import router as fleet_router
from flwr.superlink.servicer.runtime import runtime_handlers
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

__all__ = [
    "FLWR_IN_MEMORY_DB_NAME", "NOOP_ACCOUNT_NAME", "NOOP_FEDERATION_ID", "NOOP_FLWR_AID", "SUPERLINK_NODE_ID",
    "ActivateNodeRequest", "BaseHTTPMiddleware", "ClientApp", "ConfirmMessageReceivedRequest", "Context",
    "DeactivateNodeRequest", "Fab", "FastAPI", "FleetHttpClient", "FlowerError", "Message", "Middleware",
    "NodeAuthHttpInterceptor", "NodeAuthMiddleware", "NodeProto", "ObjectTree", "ProtobufTranslationMiddleware",
    "PullAppMessagesRequest", "PullMessagesRequest", "PullObjectRequest", "PushAppMessagesRequest",
    "PushMessagesRequest", "PushObjectRequest", "RecordDict", "RegisterNodeFleetRequest",
    "RuntimeVersionHttpInterceptor", "SendNodeHeartbeatRequest", "ServerApp", "TaskType", "build_fab_from_files",
    "bytes_to_private_key", "bytes_to_public_key", "ec", "fleet_router", "generate_key_pairs", "get_all_nested_objects",
    "get_federation_manager", "get_object_tree", "get_objectstore_linkstate_factories", "http_error_translator",
    "httpx", "inflate_object_from_contents", "iterate_object_tree", "message_from_proto", "message_to_proto",
    "new_message", "no_object_id_recompute", "now", "packed", "private_key_to_bytes", "public_key_to_bytes",
    "remove_content_from_message", "reply_to", "runtime_handlers", "why_empty",
]  # fmt: skip

# Flower tells every request on the console; what matters is in the run's own log.
logging.getLogger("flwr").setLevel(logging.CRITICAL)

KIND = "query"
RECORD, BYTES = "synoptic", "message"


def new_message(run: int, node: int, content: bytes, seconds: float) -> Message:
    """A message of one packed value from the server to a node, void after ``seconds``."""
    return _message(Metadata(run, "", SUPERLINK_NODE_ID, node, "", "", now().timestamp(), seconds, KIND), content)


def reply_to(message: Message, content: bytes) -> Message:
    """A node's reply; it is void when what it replies to is, by the server's clock: a node's may be wrong."""
    asked = message.metadata
    return _message(Metadata(asked.run_id, "", asked.dst_node_id, asked.src_node_id, asked.message_id,
                             asked.group_id, asked.created_at, asked.ttl, asked.message_type), content)  # fmt: skip


def packed(message: Message) -> bytes | None:
    """The packed value of a message; None where there is none (Flower's own error replies, foreign apps)."""
    if not message.has_content():
        return None
    record = message.content.config_records.get(RECORD)
    value = record.get(BYTES) if record is not None else None
    return value if isinstance(value, bytes) else None


def why_empty(message: Message) -> str:
    """Why a reply has no packed value."""
    if message.has_error():
        return f"no reply ({message.error.reason or 'error ' + str(message.error.code)})"
    return "its reply is not of Synoptic"


def _message(metadata: Metadata, content: bytes) -> Message:
    # One record of bytes makes three objects to fetch; an array would make five, and every object is a request.
    return make_message(metadata, RecordDict({RECORD: ConfigRecord({BYTES: content})}))
