"""The tests of aiokafka's producer, group consumer and admin client, against the broker at $BOOTSTRAP."""

import asyncio
import contextlib
import os
import re
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import OffsetAndMetadata
from harness import TIMEOUT_S, run_tests

BOOTSTRAP = os.environ["BOOTSTRAP"]
PREFIX = f"compat-{int(time.time())}-{os.getpid()}-aiokafka-"
CONFIG = {"bootstrap_servers": BOOTSTRAP, "auto_offset_reset": "earliest", "session_timeout_ms": 6000, "heartbeat_interval_ms": 200,
          "fetch_max_wait_ms": 100, "metadata_max_age_ms": 300, "enable_auto_commit": False, "rebalance_timeout_ms": 6000}


async def eventually(condition):
    """Like that of the harness; the condition may be a coroutine function."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, "never happened"
        await asyncio.sleep(0.01)


class Member(ConsumerRebalanceListener):
    """A consumer in a group that a task of its own reads from."""

    def __init__(self, group, *topics, pattern=None, **config):
        self.client = AIOKafkaConsumer(group_id=group, **CONFIG | config)
        self.topics, self.pattern = topics, pattern
        self.owned, self.records, self.failure, self.assignments = set(), [], None, 0

    async def on_partitions_assigned(self, assigned):
        self.owned = set(assigned)
        self.assignments += 1

    async def on_partitions_revoked(self, revoked):
        self.owned -= set(revoked)

    async def read(self):
        try:
            async for record in self.client:
                self.records.append(record)
        except Exception as failure:  # for whoever looks
            self.failure = failure

    async def __aenter__(self):
        await self.client.start()
        self.client.subscribe(topics=self.topics, pattern=self.pattern, listener=self)
        self.task = asyncio.create_task(self.read())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await asyncio.wait_for(self.client.stop(), TIMEOUT_S)


@contextlib.asynccontextmanager
async def admin_client():
    client = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create(name, partitions=1):
    topic = PREFIX + name
    async with admin_client() as admin:
        answer = await admin.create_topics([NewTopic(topic, partitions, 1)])
        assert [error for _, error, *_ in answer.topic_errors] == [0], answer
    async with AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP) as client:
        # Apache Kafka names a leader a moment before that leader serves; this asks until it does.
        await client.end_offsets([TopicPartition(topic, p) for p in range(partitions)])
    return topic


async def fill(topic, partitions=1, each=10):
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP) as producer:
        for partition in range(partitions):
            for number in range(each):
                await producer.send(topic, b"%d-%d" % (partition, number), partition=partition)


async def filled(name, partitions=1):
    topic = await create(name, partitions)
    await fill(topic, partitions)
    return topic


def shared(topic, count, *members):
    """Whether the members have the partitions of a topic evenly between them, each one once."""
    sizes = [len(m.owned) for m in members]
    owned = sorted(p.partition for m in members for p in m.owned if p.topic == topic)
    return owned == list(range(count)) and sum(sizes) == count and max(sizes) - min(sizes) <= 1


async def committed(group, topic):
    """partition -> offset, as the admin client sees it."""
    async with admin_client() as admin:
        found = await admin.list_consumer_group_offsets(group)
        return {where.partition: value.offset for where, value in found.items() if where.topic == topic}


async def described(group):
    async with admin_client() as admin:
        [answer] = await admin.describe_consumer_groups([group])
        error, name, state, protocol_type, protocol, members, *_ = answer.groups[0]
        assert (error, name) == (0, group), answer
        return {"state": state, "type": protocol_type, "protocol": protocol, "members": members}


# --- tests ---


async def test_produce_and_assign():
    topic = await filled("assign", 2)
    client = AIOKafkaConsumer(**CONFIG)
    await client.start()
    client.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    found = [(await asyncio.wait_for(client.getone(), TIMEOUT_S)).value for _ in range(20)]
    assert sorted(found) == sorted(b"%d-%d" % (p, n) for p in range(2) for n in range(10))
    await client.stop()


async def test_resume():
    topic, group = await filled("resume", 3), PREFIX + "resume"
    async with Member(group, topic) as member:
        await eventually(lambda: len(member.records) == 30)
        await member.client.commit()
    assert await committed(group, topic) == {0: 10, 1: 10, 2: 10}
    await fill(topic, 3, 1)
    async with Member(group, topic) as member:
        await eventually(lambda: len(member.records) == 3)
        assert [r.offset for r in member.records] == [10] * 3


async def test_commits():
    topic, group = await filled("commits", 2), PREFIX + "commits"
    one = TopicPartition(topic, 1)
    async with Member(group, topic) as member:
        await eventually(lambda: len(member.records) == 20)
        await member.client.commit({one: OffsetAndMetadata(4, "a nöte")})
        assert await member.client.committed(one) == 4
        async with admin_client() as admin:
            assert (await admin.list_consumer_group_offsets(group))[one].metadata == "a nöte"
        await member.client.commit({one: 2})
        assert await committed(group, topic) == {1: 2}


async def test_auto_commit():
    topic, group = await filled("auto"), PREFIX + "auto"
    async with Member(group, topic, enable_auto_commit=True, auto_commit_interval_ms=100) as member:

        async def all_committed():
            return await committed(group, topic) == {0: 10}

        await eventually(all_committed)
        await fill(topic, 1, 1)
        await eventually(lambda: len(member.records) == 11)
    # stop() commits what came last.
    assert await committed(group, topic) == {0: 11}


async def check_rebalance(name, assignor):
    topic, group = await create("rebalance-" + name, 4), PREFIX + "rebalance-" + name
    config = {"partition_assignment_strategy": (assignor,)}
    async with Member(group, topic, **config) as first:
        await eventually(lambda: shared(topic, 4, first))
        async with Member(group, topic, **config) as second:
            await eventually(lambda: shared(topic, 4, first, second))
            async with Member(group, topic, **config) as third:
                await eventually(lambda: shared(topic, 4, first, second, third))
            await eventually(lambda: shared(topic, 4, first, second))
        await eventually(lambda: shared(topic, 4, first))
        await fill(topic, 4, 1)
        await eventually(lambda: len(first.records) == 4)


async def test_rebalance_range():
    await check_rebalance("range", RangePartitionAssignor)


async def test_rebalance_round_robin():
    await check_rebalance("round-robin", RoundRobinPartitionAssignor)


async def test_rebalance_sticky():
    await check_rebalance("sticky", StickyPartitionAssignor)


async def test_pattern():
    first, group = await create("pattern-a"), PREFIX + "pattern"
    async with Member(group, pattern=re.escape(PREFIX) + "pattern-.*") as member:
        await eventually(lambda: member.owned == {TopicPartition(first, 0)})
        second = await create("pattern-b")
        await eventually(lambda: member.owned == {TopicPartition(first, 0), TopicPartition(second, 0)})


async def test_static_members():
    topic, group = await create("static", 4), PREFIX + "static"
    async with Member(group, topic, group_instance_id="one") as first:
        async with Member(group, topic, group_instance_id="two") as second:
            await eventually(lambda: shared(topic, 4, first, second))
            before, assignments = set(second.owned), first.assignments
        async with Member(group, topic, group_instance_id="two") as again:
            await eventually(lambda: again.owned == before)
            assert first.assignments == assignments


async def test_describe_and_list():
    topic, group = await create("described", 2), PREFIX + "described"
    async with Member(group, topic, client_id="the-client") as member:
        await eventually(lambda: shared(topic, 2, member))

        async def stable():
            found = await described(group)
            return found["state"] == "Stable" and found

        found = await eventually(stable)
        assert (found["type"], found["protocol"]) == ("consumer", "roundrobin"), found
        [(_, client_id, host, *_)] = found["members"]
        assert (client_id, host) == ("the-client", "/127.0.0.1"), found
        async with admin_client() as admin:
            assert (group, "consumer") in [tuple(g[:2]) for g in await admin.list_consumer_groups()]

    async def empty():
        return (await described(group))["state"] == "Empty"

    await eventually(empty)


async def test_crowd():
    """Ten members that come at the same time, and go at the same time but for one."""
    topic, group = await create("crowd", 20), PREFIX + "crowd"
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(Member(group, topic))
        async with contextlib.AsyncExitStack() as others:
            rest = [Member(group, topic) for _ in range(9)]
            await asyncio.gather(*(others.enter_async_context(member) for member in rest))
            await eventually(lambda: shared(topic, 20, first, *rest))
        await eventually(lambda: shared(topic, 20, first))


def tests():
    for name, function in globals().copy().items():
        if name.startswith("test_"):
            yield name.removeprefix("test_").replace("_", "-"), lambda function=function: asyncio.run(function())


if __name__ == "__main__":
    run_tests(list(tests()))
