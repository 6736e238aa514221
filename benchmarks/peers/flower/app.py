"""The job as a Flower app. Model and data are built once in an actor, not once in a message: Flower at its best."""

from __future__ import annotations

from collections import OrderedDict

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.bare import put, train
from benchmarks.peers.twin import tools

app = ClientApp()


@app.train()
def train_client(message: Message, context: Context) -> Message:
    """One client's local training."""
    job, _, parameters, loss = tools()
    round_ = int(message.content["config"]["server-round"]) - 1
    rows = job.rows(round_, int(context.node_config["partition-id"]))
    put(parameters, message.content["arrays"].to_torch_state_dict())
    value = train(list(parameters.values()), loss, rows, job.lr, job.batch_size)
    trained = OrderedDict((name, parameter.detach()) for name, parameter in parameters.items())
    content = {"arrays": ArrayRecord(trained), "metrics": MetricRecord({"num-examples": len(rows), "loss": value})}
    return Message(content=RecordDict(content), reply_to=message)
