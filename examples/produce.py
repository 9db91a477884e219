#!/usr/bin/env python3
"""Publish a JSON Lines file of briefs to briefd's input queue, each line a message.

Needs pika (pip install pika). Like `briefd enqueue FILE`, for pipelines that are written in Python:

    python3 examples/produce.py examples/spring-launch.jsonl --url amqp://guest:guest@127.0.0.1:5672/%2f

Every message is confirmed by the broker, so "published" means stored. Publishing a file again is harmless:
briefd knows a brief by its projectId, batchId and briefId, and answers a repeat without buying again.
"""

import argparse
import os
import sys
import uuid

import pika
import pika.exceptions


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="JSON Lines: one brief a line; - for standard input")
    parser.add_argument("--url", default=os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f"))
    parser.add_argument("--exchange", default="briefs")
    parser.add_argument("--routing-key", default="brief")
    options = parser.parse_args()

    source = sys.stdin.buffer if options.file == "-" else open(options.file, "rb")
    connection = pika.BlockingConnection(pika.URLParameters(options.url))
    channel = connection.channel()
    channel.confirm_delivery()  # from now on basic_publish waits until the broker has the message
    published = 0
    for number, line in enumerate(source, start=1):
        line = line.strip()
        if not line:
            continue
        try:
            channel.basic_publish(
                options.exchange,
                options.routing_key,
                line,  # as it is: briefd judges it, and sets aside with a reason what nobody can read
                pika.BasicProperties(
                    content_type="application/json",
                    delivery_mode=pika.DeliveryMode.Persistent,
                    # The same for the same line, so that repeats can be recognized on the way.
                    message_id=str(uuid.uuid5(uuid.NAMESPACE_OID, line.decode(errors="replace"))),
                ),
                mandatory=True,  # an error when no queue would get it, instead of silence
            )
        except pika.exceptions.UnroutableError:
            sys.exit(f"line {number}: no queue is bound to exchange {options.exchange!r} with key "
                     f"{options.routing_key!r}; run `briefd topology --declare` ({published} published before)")
        except pika.exceptions.NackError:
            sys.exit(f"line {number}: the broker refused it, its queue is full; publish the file again later")
        except pika.exceptions.ChannelClosedByBroker as error:
            sys.exit(f"line {number}: the broker refused it: {error.reply_text}; run `briefd topology --declare`")
        published += 1
    connection.close()
    print(f"{published} briefs published to {options.exchange}, all confirmed")


if __name__ == "__main__":
    try:
        main()
    except pika.exceptions.AMQPConnectionError as error:
        sys.exit(f"cannot reach the broker: {str(error) or type(error).__name__}; is --url (or $AMQP_URL) right?")
