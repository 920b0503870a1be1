"""A few hand-made requests to one broker, where a client would hide who answers and when."""

import dataclasses
import socket
import struct

METADATA, OFFSET_FOR_LEADER_EPOCH = 3, 23


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        found = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return found[0] if len(found) == 1 else found

    def string(self):
        size = self.take("h")
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def array(self, read):
        return [read() for _ in range(self.take("i"))]

    def ints(self):
        return self.array(lambda: self.take("i"))


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


@dataclasses.dataclass(frozen=True)
class Partition:
    error: int
    leader: int
    epoch: int
    replicas: tuple
    in_sync: tuple
    offline: tuple


@dataclasses.dataclass
class Metadata:
    brokers: dict  # id -> (host, port, rack)
    cluster: str
    controller: int
    topics: dict  # name -> (error, {partition: Partition})


class Connection:
    """One connection to a broker; OSError when it is not there."""

    def __init__(self, address, timeout_s=5):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, key, version, body):
        """An answer of a version without tagged fields."""
        self.number += 1
        request = struct.pack(">hhi", key, version, self.number) + string("compat") + body
        self.socket.sendall(struct.pack(">i", len(request)) + request)
        answer = Reader(self.exactly(struct.unpack(">i", self.exactly(4))[0]))
        assert answer.take("i") == self.number, "an answer to another request"
        return answer

    def exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the broker closed the connection")
            data += more
        return data

    def metadata(self, *topics):
        """What the broker says of itself, the others and these topics (all, if none is named)."""
        names = struct.pack(">i", len(topics) or -1) + b"".join(map(string, topics))
        answer = self.call(METADATA, 7, names + b"\0")
        answer.take("i")  # throttle time
        brokers = {}
        for _ in range(answer.take("i")):
            node, host, port = answer.take("i"), answer.string(), answer.take("i")
            brokers[node] = (host, port, answer.string())
        cluster, controller = answer.string(), answer.take("i")

        def partition():
            error, number, leader, epoch = answer.take("hiii")
            return number, Partition(error, leader, epoch, *(tuple(answer.ints()) for _ in range(3)))

        def topic():
            error, name, _ = answer.take("h"), answer.string(), answer.take("b")
            return name, (error, dict(answer.array(partition)))

        return Metadata(brokers, cluster, controller, dict(answer.array(topic)))

    def epoch_end(self, topic, partition, epoch, current=-1):
        """(error, epoch, end offset) by OffsetForLeaderEpoch, as a consumer asks."""
        asked = struct.pack(">iii", partition, current, epoch)
        body = struct.pack(">ii", -1, 1) + string(topic) + struct.pack(">i", 1) + asked
        answer = self.call(OFFSET_FOR_LEADER_EPOCH, 3, body)
        answer.take("i")  # throttle time
        assert answer.take("i") == 1 and answer.string() == topic and answer.take("i") == 1
        error, _, found, end = answer.take("hiiq")
        return error, found, end


def metadata(address, *topics, timeout_s=5):
    with Connection(address, timeout_s) as connection:
        return connection.metadata(*topics)
