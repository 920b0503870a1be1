// The tests of kafkajs against the broker at $BOOTSTRAP.
'use strict'

const assert = require('node:assert/strict')
const { CompressionTypes, ConfigResourceTypes, Kafka, Partitioners, logLevel } = require('kafkajs')

// One send is one batch to kafkajs, which must stay below max.message.bytes.
const records = process.env.SHORT ? 1000 : 10000
const prefix = `compat-${Math.floor(Date.now() / 1000)}-${process.pid}-kafkajs-`
const kafka = new Kafka({
  clientId: 'compat',
  brokers: [process.env.BOOTSTRAP],
  logLevel: logLevel.NOTHING,
  // kafkajs also retries an error that a test wants to see.
  retry: { initialRetryTime: 50, retries: 5 }
})
const admin = kafka.admin()

// The public consumer needs a group. The cluster behind it does not, so fetches go through that.
const createCluster = Object.getOwnPropertySymbols(kafka).find(s => String(s).includes('createCluster'))
const cluster = kafka[createCluster]({ metadataMaxAge: 0, allowAutoTopicCreation: false, maxInFlightRequests: null })

// create makes a topic of this run and waits until it serves.
async function create(name, numPartitions = 1, configs = {}) {
  const topic = prefix + name
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  assert.equal(await admin.createTopics({ topics: [{ topic, numPartitions, configEntries }], waitForLeaders: true }), true)
  return topic
}

// send produces messages to a topic with a producer of its own.
async function send(topic, messages, { producer = {}, ...request } = {}) {
  const client = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...producer })
  await client.connect()
  try {
    return await client.send({ topic, messages, ...request })
  } finally {
    await client.disconnect()
  }
}

// receive fetches from an offset until there are count messages.
async function receive(topic, count, { partition = 0, offset = 0 } = {}) {
  await cluster.addTargetTopic(topic)
  const { leader } = cluster.findTopicPartitionMetadata(topic).find(p => p.partitionId === partition)
  const broker = await cluster.findBroker({ nodeId: String(leader) })
  const messages = []
  while (messages.length < count) {
    const topics = [{ topic, partitions: [{ partition, fetchOffset: offset + messages.length, maxBytes: 1 << 20 }] }]
    const { responses } = await broker.fetch({ maxWaitTime: 5000, minBytes: 1, maxBytes: 10 << 20, topics })
    const found = responses[0].partitions[0].messages.filter(m => Number(m.offset) >= offset + messages.length)
    assert.notEqual(found.length, 0, `only ${messages.length} of ${count} messages`)
    messages.push(...found)
  }
  assert.equal(messages.length, count)
  return messages
}

const numbered = count => Array.from({ length: count }, (_, i) => ({ key: `key ${i}`, value: `wert ü ${i}`, partition: 0 }))

async function roundTrip(name, options) {
  const topic = await create(name)
  const sent = numbered(records)
  const [acked] = await send(topic, sent, options)
  assert.equal(acked.errorCode, 0)
  const found = await receive(topic, records)
  assert.deepEqual(found.map(m => Number(m.offset)), found.map((_, i) => i))
  assert.deepEqual(found.map(m => [m.key.toString(), m.value.toString()]), sent.map(m => [m.key, m.value]))
}

// failing asserts the error type (kafkajs gives the protocol's name) of a promise.
const failing = (promise, type) =>
  assert.rejects(promise, error => {
    const all = [error, error.cause, ...(error.errors || [])]
    assert.ok(all.some(e => e && e.type === type), `${type} expected, got ${all.map(e => e && (e.type || e.message))}`)
    return true
  })

// eventually waits for what a broker may do after its answer.
async function eventually(condition) {
  for (const deadline = Date.now() + 30000; !(await condition()); await new Promise(r => setTimeout(r, 20))) {
    assert.ok(Date.now() < deadline, 'never happened')
  }
}

const tests = {
  async 'describe-cluster'() {
    const { brokers, controller, clusterId } = await admin.describeCluster()
    assert.deepEqual(brokers.map(b => `${b.host}:${b.port}`), [process.env.BOOTSTRAP])
    assert.equal(controller, brokers[0].nodeId)
    assert.equal(clusterId.length, 22)
  },

  async topics() {
    const topic = await create('topics', 3)
    assert.ok((await admin.listTopics()).includes(topic))
    const { topics: [found] } = await admin.fetchTopicMetadata({ topics: [topic] })
    assert.deepEqual(found.partitions.map(p => p.partitionId).sort(), [0, 1, 2])
    assert.ok(found.partitions.every(p => p.replicas.length === 1 && p.isr[0] === p.leader))
    // kafkajs answers false when the topic is there already.
    assert.equal(await admin.createTopics({ topics: [{ topic }] }), false)
    await failing(admin.createTopics({ topics: [{ topic: 'no/slash' }] }), 'INVALID_TOPIC_EXCEPTION')
    await admin.deleteTopics({ topics: [topic] })
    await eventually(async () => !(await admin.listTopics()).includes(topic))
    await failing(admin.deleteTopics({ topics: [topic] }), 'UNKNOWN_TOPIC_OR_PARTITION')
  },

  async partitions() {
    const topic = await create('partitions', 1)
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    await eventually(async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3)
    await failing(admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] }), 'INVALID_PARTITIONS')
    await send(topic, [{ value: 'new', partition: 2 }])
    assert.equal((await receive(topic, 1, { partition: 2 }))[0].value.toString(), 'new')
  },

  async configs() {
    const name = await create('configs', 1, { 'retention.ms': '1234567' })
    const type = ConfigResourceTypes.TOPIC
    const value = async key => {
      const { resources: [found] } = await admin.describeConfigs({ resources: [{ type, name, configNames: [key] }] })
      return found.configEntries.map(e => [e.configName, e.configValue, e.isDefault])
    }
    assert.deepEqual(await value('retention.ms'), [['retention.ms', '1234567', false]])
    assert.deepEqual(await value('cleanup.policy'), [['cleanup.policy', 'delete', true]])
    // Not incremental: what is not named goes back to its default.
    const alter = entries => admin.alterConfigs({ validateOnly: false, resources: [{ type, name, configEntries: entries }] })
    await alter([{ name: 'segment.bytes', value: '2000000' }])
    await eventually(async () => (await value('segment.bytes'))[0][1] === '2000000')
    assert.deepEqual(await value('retention.ms'), [['retention.ms', '604800000', true]])
    await failing(alter([{ name: 'no.such.key', value: '1' }]), 'INVALID_CONFIG')
  },

  async offsets() {
    const topic = await create('offsets', 2)
    const start = 1700000000000
    await send(topic, [0, 1, 2].map(i => ({ value: `${i}`, timestamp: `${start + i * 1000}`, partition: 0 })))
    const bounds = (await admin.fetchTopicOffsets(topic)).sort((a, b) => a.partition - b.partition)
    assert.deepEqual(bounds.map(({ low, high }) => [low, high]), [['0', '3'], ['0', '0']])
    const at = async stamp => (await admin.fetchTopicOffsetsByTimestamp(topic, stamp)).find(o => o.partition === 0).offset
    assert.equal(await at(start + 1), '1')
    // Nothing is that late: kafkajs then gives the end.
    assert.equal(await at(start + 2001), '3')
  },

  async 'delete-records'() {
    const topic = await create('trimmed')
    await send(topic, numbered(10))
    // Of a topic that it has not asked about yet, kafkajs does not find the leader.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
    assert.equal((await admin.fetchTopicOffsets(topic))[0].low, '4')
    assert.equal((await receive(topic, 6, { offset: 4 }))[0].key.toString(), 'key 4')
    await failing(receive(topic, 1, { offset: 0 }), 'OFFSET_OUT_OF_RANGE')
  },

  'produce-plain': () => roundTrip('plain'),
  'produce-acks-one': () => roundTrip('acks-one', { acks: 1 }),
  'produce-gzip': () => roundTrip('gzip', { compression: CompressionTypes.GZIP }),
  'produce-idempotent': () => roundTrip('idempotent', { producer: { idempotent: true, maxInFlightRequests: 1 } }),

  async 'produce-acks-none'() {
    const topic = await create('acks-none')
    await send(topic, numbered(3), { acks: 0 })
    assert.equal((await receive(topic, 3))[2].key.toString(), 'key 2')
  },

  async headers() {
    const topic = await create('headers')
    // Several values of one key are kafkajs' way to say that a header comes more than once.
    await send(topic, [{ value: null, headers: { same: ['1', '2', '1'], other: Buffer.from([0, 255]) } }])
    const [{ value, headers }] = await receive(topic, 1)
    assert.equal(value, null)
    assert.deepEqual(headers.same.map(String), ['1', '2', '1'])
    assert.deepEqual([...headers.other], [0, 255])
  },

  async 'too-large'() {
    const topic = await create('strict', 1, { 'max.message.bytes': '1000' })
    await failing(send(topic, [{ value: 'x'.repeat(2000) }], { producer: { retry: { retries: 0 } } }), 'MESSAGE_TOO_LARGE')
    assert.equal((await admin.fetchTopicOffsets(topic))[0].high, '0')
  },

  async 'long-poll'() {
    const topic = await create('long-poll')
    const waiting = receive(topic, 1)
    await send(topic, [{ value: 'wake up' }])
    assert.equal((await waiting)[0].value.toString(), 'wake up')
  }
}

Object.assign(tests, require('./groups')({ kafka, admin, prefix, create, send, eventually }))

// kafkajs sets offsets as a member that waits out a fetch of five seconds.
const longOnly = new Set(['group-offsets-of-admin'])

async function main() {
  await Promise.all([admin.connect(), cluster.connect()])
  let failed = 0
  for (const [name, run] of Object.entries(tests)) {
    if (process.env.SHORT && longOnly.has(name)) {
      console.log(`skip ${name} (short form)`)
      continue
    }
    const start = performance.now()
    const failure = await run().then(() => '', error => `\n${error.stack}`)
    if (failure) failed++
    console.log(`${failure ? 'FAIL' : 'ok  '} ${name} ${((performance.now() - start) / 1000).toFixed(2)} s${failure}`)
  }
  await Promise.all([admin.disconnect(), cluster.disconnect()])
  process.exit(failed ? 1 : 0)
}

main()
