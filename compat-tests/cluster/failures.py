"""Nodes that are killed and come back: what the tools tell, what clients may write and read, and who leads."""

import statistics
import threading
import time

from cluster import bed
from cluster.bed import (create, described, down, moves, new_leader, node, numbered, partition, produce, read, reassigned, refused,
                         tool, whole)
from cluster.wire import Connection
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition  # noqa: F401
from harness import eventually
from toolbox import rows

# Kafka's error codes.
NOT_LEADER, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH = 6, 74, 76
