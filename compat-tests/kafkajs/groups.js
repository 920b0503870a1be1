// The group consumer of kafkajs, and its admin calls on groups.
'use strict'

const assert = require('node:assert/strict')
const { AssignerProtocol, PartitionAssigners } = require('kafkajs')

module.exports = ({ kafka, admin, prefix, create, send, eventually }) => {
  // Member is a consumer that runs; it keeps what it was assigned and what it has read.
  class Member {
    constructor(groupId, options = {}) {
      this.client = kafka.consumer({
        groupId, sessionTimeout: 6000, heartbeatInterval: 200, rebalanceTimeout: 5000, maxWaitTimeInMs: 100, metadataMaxAge: 300, ...options
      })
      this.owned = {}
      this.joined = 0
      this.messages = []
      this.client.on(this.client.events.GROUP_JOIN, ({ payload }) => {
        this.owned = payload.memberAssignment
        this.joined++
      })
    }

    async start(topic, { run = {}, ...subscription } = {}) {
      await this.client.connect()
      await this.client.subscribe({ ...(topic instanceof RegExp ? { topics: [topic] } : { topic }), fromBeginning: true, ...subscription })
      await this.client.run({ eachMessage: async ({ partition, message }) => this.messages.push({ partition, ...message }), ...run })
      return this
    }

    partitions(topic) {
      return [...(this.owned[topic] || [])].sort()
    }

    stop() {
      return this.client.disconnect()
    }
  }

  const group = name => `${prefix}${name}`
  const join = (name, topic, options, more) => new Member(group(name), options).start(topic, more)
  const shared = (topic, count, ...members) => {
    const owned = members.map(m => m.partitions(topic))
    const even = Math.max(...owned.map(o => o.length)) - Math.min(...owned.map(o => o.length)) <= 1
    return even && JSON.stringify(owned.flat().sort()) === JSON.stringify([...Array(count).keys()])
  }

  // committed gives the offsets by partition; -1 where there is none.
  const committed = async (name, topic) => {
    const [found] = await admin.fetchOffsets({ groupId: group(name), topics: [topic] })
    return found.partitions.sort((a, b) => a.partition - b.partition).map(p => Number(p.offset))
  }

  const fill = async (topic, partitions, each = 10) => {
    const messages = []
    for (let i = 0; i < partitions * each; i++) messages.push({ value: `${i % partitions}-${Math.floor(i / partitions)}`, partition: i % partitions })
    await send(topic, messages)
  }

  const filled = async (name, partitions = 1) => {
    const topic = await create(name, partitions)
    await fill(topic, partitions)
    return topic
  }

  const deleteFails = (name, type) =>
    assert.rejects(admin.deleteGroups([group(name)]), error => {
      assert.deepEqual(error.groups.map(g => g.error.type), [type])
      return true
    })

  return {
    async 'group-resume'() {
      const topic = await filled('resume', 3)
      const first = await join('resume', topic)
      await eventually(() => first.messages.length === 30)
      assert.equal(new Set(first.messages.map(m => m.value.toString())).size, 30)
      // It commits what it has resolved when it leaves.
      await first.stop()
      assert.deepEqual(await committed('resume', topic), [10, 10, 10])
      await fill(topic, 3, 1)
      const second = await join('resume', topic)
      await eventually(() => second.messages.length === 3)
      assert.deepEqual(second.messages.map(m => m.offset), ['10', '10', '10'])
      await second.stop()
    },

    async 'group-commit'() {
      const topic = await filled('commit', 2)
      const member = await join('commit', topic, {}, { run: { autoCommit: false } })
      await eventually(() => member.messages.length === 20)
      assert.deepEqual(await committed('commit', topic), [-1, -1])
      await member.client.commitOffsets([{ topic, partition: 1, offset: '4', metadata: 'a note' }])
      assert.deepEqual(await committed('commit', topic), [-1, 4])
      const [found] = await admin.fetchOffsets({ groupId: group('commit'), topics: [topic] })
      assert.equal(found.partitions.find(p => p.partition === 1).metadata, 'a note')
      await member.stop()
      const again = await join('commit', topic, {}, { run: { autoCommit: false } })
      await eventually(() => again.messages.length === 16)
      await again.stop()
    },

    async 'group-auto-commit'() {
      const topic = await filled('auto', 1)
      const member = await join('auto', topic, {}, { run: { autoCommitThreshold: 5 } })
      await eventually(async () => (await committed('auto', topic))[0] === 10)
      await member.stop()
    },

    async 'group-rebalance'() {
      const topic = await create('rebalance', 4)
      const first = await join('rebalance', topic)
      await eventually(() => shared(topic, 4, first))
      const second = await join('rebalance', topic)
      await eventually(() => shared(topic, 4, first, second))
      const third = await join('rebalance', topic)
      await eventually(() => shared(topic, 4, first, second, third))
      await second.stop()
      await eventually(() => shared(topic, 4, first, third))
      await third.stop()
      await eventually(() => shared(topic, 4, first))
      await fill(topic, 4, 1)
      await eventually(() => first.messages.length === 4)
      await first.stop()
    },

    async 'group-regex'() {
      const topics = [await create('regex-a'), await create('regex-b')]
      const member = await join('regex', new RegExp(`^${prefix}regex-.*`))
      await eventually(() => topics.every(topic => shared(topic, 1, member)))
      await member.stop()
    },

    async 'group-seek'() {
      const topic = await filled('seek')
      const member = await join('seek', topic)
      await eventually(() => member.messages.length === 10)
      member.client.seek({ topic, partition: 0, offset: '7' })
      await eventually(() => member.messages.length === 13)
      await member.stop()
    },

    async 'group-describe'() {
      const topic = await create('described', 2)
      const member = await join('described', topic)
      await eventually(() => shared(topic, 2, member))
      const describe = async () => (await admin.describeGroups([group('described')])).groups[0]
      await eventually(async () => (await describe()).state === 'Stable')
      const found = await describe()
      assert.deepEqual([found.errorCode, found.protocolType, found.protocol], [0, 'consumer', 'RoundRobinAssigner'])
      assert.deepEqual(found.members.map(m => [m.clientId, m.clientHost]), [['compat', '/127.0.0.1']])
      const { assignment } = AssignerProtocol.MemberAssignment.decode(found.members[0].memberAssignment)
      assert.deepEqual(assignment, { [topic]: [0, 1] })
      assert.deepEqual((await member.client.describeGroup()).groupId, group('described'))
      const { groups } = await admin.listGroups()
      assert.deepEqual(groups.find(g => g.groupId === group('described')).protocolType, 'consumer')
      await deleteFails('described', 'NON_EMPTY_GROUP')
      await member.stop()
      await eventually(async () => (await describe()).state === 'Empty')
      await admin.deleteGroups([group('described')])
      assert.equal((await describe()).state, 'Dead')
      await deleteFails('described', 'GROUP_ID_NOT_FOUND')
    },

    async 'group-offsets-of-admin'() {
      const topic = await filled('set', 2)
      const groupId = group('set')
      await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '6' }, { partition: 1, offset: '9' }] })
      assert.deepEqual(await committed('set', topic), [6, 9])
      const all = await admin.fetchOffsets({ groupId })
      assert.deepEqual(all.map(t => t.topic), [topic])
      await admin.resetOffsets({ groupId, topic, earliest: true })
      assert.deepEqual((await admin.fetchOffsets({ groupId, topics: [topic], resolveOffsets: true }))[0].partitions.map(p => p.offset), ['0', '0'])
      const member = await join('set', topic)
      await eventually(() => member.messages.length === 20)
      // Not while somebody is in it.
      await assert.rejects(admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '1' }] }), /running/)
      await member.stop()
    },

    async 'group-two-assigners'() {
      // The assigner that both have is chosen, here the one that the first member likes less.
      const { roundRobin } = PartitionAssigners
      const other = ({ cluster }) => ({ ...roundRobin({ cluster }), name: 'OtherAssigner', protocol: args => ({ ...roundRobin({ cluster }).protocol(args), name: 'OtherAssigner' }) })
      const topic = await create('assigners', 2)
      const first = await join('assigners', topic, { partitionAssigners: [other, roundRobin] })
      await eventually(() => shared(topic, 2, first))
      const protocol = async () => (await admin.describeGroups([group('assigners')])).groups[0].protocol
      assert.equal(await protocol(), 'OtherAssigner')
      const second = await join('assigners', topic)
      await eventually(() => shared(topic, 2, first, second))
      assert.equal(await protocol(), 'RoundRobinAssigner')
      await Promise.all([first.stop(), second.stop()])
    }
  }
}
