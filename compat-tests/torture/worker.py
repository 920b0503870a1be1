"""A client for the torture harness, with librdkafka. The protocol is described in src/worker.rs."""

import logging
import sys
import threading

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

BOOTSTRAP = sys.argv[1]
lock = threading.Lock()
# librdkafka tells of every connection that fails.
quiet = logging.getLogger("librdkafka")
quiet.addHandler(logging.NullHandler())
quiet.propagate = False


def say(line):
    with lock:
        print(line.replace("\n", " "), flush=True)


def on_error(error):
    if error.fatal():
        say(f"fatal {error}")


class Sender:
    def __init__(self):
        self.open()

    def open(self):
        config = {"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "linger.ms": 2, "error_cb": on_error}
        self.producer = Producer(config, logger=quiet)
        threading.Thread(target=self.serve, args=(self.producer,), daemon=True).start()

    def serve(self, producer):
        """Calls back what was delivered."""
        while self.producer is producer:
            producer.poll(0.1)

    def send(self, topic, partition, value):
        name = f"{topic} {partition} {value}"

        def delivered(error, message):
            # An acknowledgement that was repeated comes without the offset.
            offset = -1 if message.offset() is None else message.offset()
            say(f"unsure {name} {error}" if error else f"sent {name} {offset}")

        try:
            self.producer.produce(topic, value.encode(), partition=int(partition), on_delivery=delivered)
        except BufferError as full:
            say(f"failed {name} {full}")
        except KafkaException as error:
            say(f"failed {name} {error}")
            if error.args[0].fatal():
                self.open()


def consume(topic, group=None, partitions=()):
    config = {"bootstrap.servers": BOOTSTRAP, "group.id": group or "unused", "auto.offset.reset": "earliest", "error_cb": on_error}
    consumer = Consumer(config | {"enable.auto.commit": group is not None}, logger=quiet)
    if group:
        consumer.subscribe([topic])
    else:
        consumer.assign([TopicPartition(topic, int(p), OFFSET_BEGINNING) for p in partitions])
    while True:
        lines = {}
        for message in consumer.consume(500, timeout=0.2):
            if message.error():
                say(f"note consumer: {message.error()}")
                continue
            epoch = message.leader_epoch()
            word = f"{message.offset()}:{message.value().decode()}" + ("" if epoch is None else f":{epoch}")
            lines.setdefault(message.partition(), []).append(word)
        for partition, words in lines.items():
            say(f"polled {topic} {partition} {' '.join(words)}")


def answer(number, verb, arguments):
    if verb == "read":
        kwargs = {"topic": arguments[0], "partitions": arguments[1:]}
    elif verb == "join":
        kwargs = {"topic": arguments[1], "group": arguments[0]}
    else:
        say(f"answer {number} fail unknown: {verb}")
        return
    threading.Thread(target=consume, kwargs=kwargs, daemon=True).start()
    say(f"answer {number} ok")


def main():
    sender = Sender()
    say("ready")
    for line in sys.stdin:
        words = line.split()
        if words[0] == "send":
            sender.send(*words[1:])
        else:
            answer(words[1], words[2], words[3:])


if __name__ == "__main__":
    main()
