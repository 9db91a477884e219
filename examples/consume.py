#!/usr/bin/env python3
"""Follow briefd's container records, one line each, and keep the state of every container.

Needs pika (pip install pika).

    python3 examples/consume.py --url amqp://guest:guest@127.0.0.1:5672/%2f --idle 30

The rule for consumers, which `Results` below follows: records may repeat (same message_id: drop it) and come in
any order. Keep one row for each (projectId, batchId, briefId, variant). The highest `run` wins; within a run
"completed" beats the others; "brief.failed" stands for all variants of its run.

A real consumer keeps the rows and the seen ids in its database and acknowledges after the commit.
"""

import argparse
import collections
import json
import os
import sys

import pika
import pika.exceptions


class Results:
    """What is known about each container: the one place where the rule is kept."""

    def __init__(self):
        self.seen = set()
        self.rows = {}

    def take(self, message_id, record):
        """Takes one record in; False: it is a repeat."""
        if message_id in self.seen:
            return False
        self.seen.add(message_id)
        if record["type"] == "brief.failed":
            variants = range(1, record["variantCount"] + 1)
        elif record["type"].startswith("container."):
            variants = [record["variant"]]
        else:
            variants = []  # batch.finished, and whatever a later version may send
        for variant in variants:
            row = (record["projectId"], record["batchId"], record["briefId"], variant)
            if row not in self.rows or rank(record) > rank(self.rows[row]):
                self.rows[row] = record
        return True


def rank(record):
    return record["run"], record["type"] == "container.completed"


def line_about(record):
    if record["type"] == "batch.finished":
        return f"{record['type']:<20} {record['batchId']} revision {record['revision']}: {record['containers']}"
    which = f"{record['variant'] or 'all'}/{record['variantCount']}"
    line = f"{record['type']:<20} {record['batchId'] or '-'} {record['briefId']} run {record['run']} variant {which}"
    if record["error"]:
        return f"{line}: {record['error']['code']} ({record['error']['remedy']})"
    return f"{line}: {record['containerId']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f"))
    parser.add_argument("--exchange", default="containers")
    parser.add_argument("--queue", default="containers.example", help="yours: declared and bound, kept afterwards")
    parser.add_argument("--count", type=int, help="end after this many records, repeats not counted")
    parser.add_argument("--idle", type=float, metavar="SECONDS", help="end when none came for so long")
    options = parser.parse_args()

    connection = pika.BlockingConnection(pika.URLParameters(options.url))
    channel = connection.channel()
    channel.exchange_declare(options.exchange, "topic", durable=True)
    channel.queue_declare(options.queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(options.queue, options.exchange, "#")
    channel.basic_qos(prefetch_count=100)

    results, count = Results(), 0
    for method, properties, body in channel.consume(options.queue, inactivity_timeout=options.idle):
        if method is None:
            break  # idle for long enough
        record = json.loads(body)
        if results.take(properties.message_id, record):
            print(line_about(record), flush=True)
            count += 1
        channel.basic_ack(method.delivery_tag)  # only now: what was not processed comes again
        if count == options.count:
            break
    channel.cancel()
    connection.close()

    states = collections.Counter(record["type"] for record in results.rows.values())
    summary = ", ".join(f"{number} {kind}" for kind, number in sorted(states.items()))
    print(f"{len(results.rows)} containers: {summary or 'nothing came'}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except pika.exceptions.ChannelClosedByBroker as error:
        sys.exit(f"the broker refused: {error.reply_text}")
    except pika.exceptions.AMQPConnectionError as error:
        sys.exit(f"cannot reach the broker: {str(error) or type(error).__name__}; is --url (or $AMQP_URL) right?")
