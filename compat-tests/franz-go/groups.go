package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	classic = "classic"
	modern  = "consumer" // KIP-848
)

var groupTests = []test{
	{"group-resume-classic", func() { resume(classic) }},
	{"group-resume-consumer", func() { resume(modern) }},
	{"group-auto-commit-classic", func() { autoCommit(classic) }},
	{"group-auto-commit-consumer", func() { autoCommit(modern) }},
	{"group-eager-rebalance", func() { rebalance("eager", classic, kgo.Balancers(kgo.RangeBalancer())) }},
	{"group-cooperative-rebalance", func() { rebalance("cooperative", classic, kgo.Balancers(kgo.CooperativeStickyBalancer())) }},
	{"group-rebalance-uniform", func() { rebalance("uniform", modern, kgo.Balancers(kgo.CooperativeStickyBalancer())) }},
	{"group-rebalance-range", func() { rebalance("range", modern, kgo.Balancers(kgo.RangeBalancer())) }},
	{"group-static-classic", func() { staticMembers(classic) }},
	{"group-static-consumer", func() { staticMembers(modern) }},
	{"group-regex-classic", func() { regex(classic) }},
	{"group-regex-consumer", func() { regex(modern) }},
	{"group-next-generation", nextGeneration},
	{"group-migration", migration},
	{"group-admin-classic", func() { groupAdmin(classic) }},
	{"group-admin-consumer", func() { groupAdmin(modern) }},
	{"group-offsets", groupOffsets},
	{"group-lag", groupLag},
	{"find-coordinators", findCoordinators},
}

// What waits for a session to time out is left out of the short form.
var longOnly = map[string]bool{"group-static-consumer": true}

// member is a consumer in a group, polled by a goroutine of its own.
type member struct {
	client  *kgo.Client
	mu      sync.Mutex
	owned   map[string]bool // "topic 0"
	revoked []int           // how many partitions at a time
	values  []string
	errs    []error
	done    chan struct{}
}

func join(group, protocol string, opts ...kgo.Opt) *member {
	m := &member{owned: map[string]bool{}, done: make(chan struct{})}
	each := func(partitions map[string][]int32, do func(string)) (n int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for topic, ids := range partitions {
			for _, id := range ids {
				do(fmt.Sprint(topic, " ", id))
				n++
			}
		}
		return n
	}
	lost := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
		if n := each(gone, func(p string) { delete(m.owned, p) }); n > 0 {
			m.revoked = append(m.revoked, n)
		}
	}
	opts = append([]kgo.Opt{
		kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(200 * time.Millisecond),
		kgo.SessionTimeout(6 * time.Second),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			each(added, func(p string) { m.owned[p] = true })
		}),
		kgo.OnPartitionsRevoked(lost),
		kgo.OnPartitionsLost(lost),
	}, opts...)
	if protocol == modern {
		// What franz-go asks for while it takes the protocol for new.
		opts = append(opts, kgo.WithContext(context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)))
	}
	m.client = newClient(opts...)
	go m.poll()
	return m
}

func (m *member) poll() {
	defer close(m.done)
	for {
		fetches := m.client.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		m.mu.Lock()
		for _, failed := range fetches.Errors() {
			m.errs = append(m.errs, failed.Err)
		}
		for _, record := range fetches.Records() {
			m.values = append(m.values, string(record.Value))
		}
		m.mu.Unlock()
	}
}

func (m *member) partitions() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.owned))
}

func (m *member) read() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.values)
}

// leave ends the member; a static one stays in the group.
func (m *member) leave() {
	m.client.CloseAllowingRebalance()
	<-m.done
}

// shared tells whether the members have the partitions of t evenly between them, each one once.
func shared(t topic, count int, members ...*member) bool {
	var all, want []string
	least, most := count, 0
	for _, m := range members {
		owned := m.partitions()
		all = append(all, owned...)
		least, most = min(least, len(owned)), max(most, len(owned))
	}
	for p := range count {
		want = append(want, fmt.Sprint(t.name, " ", p))
	}
	slices.Sort(all)
	slices.Sort(want)
	return slices.Equal(all, want) && most-least <= 1
}

func awaitShared(t topic, count int, members ...*member) {
	eventually("an even share", func() bool { return shared(t, count, members...) })
}

func filled(name string, partitions int32) topic {
	created := createTopic(name, partitions)
	for p := range partitions {
		send(created, p, numbered(fmt.Sprint(p, "-%d"), 10))
	}
	return created
}

// committed gives the offsets of a group by partition of t.
func committed(group string, t topic) map[int32]int64 {
	found := map[int32]int64{}
	for _, partition := range get(admin.FetchOffsets(ctx, group))[t.name] {
		must(partition.Err)
		found[partition.Partition] = partition.At
	}
	return found
}

func sameOffsets(want, got map[int32]int64) {
	if !maps.Equal(want, got) {
		panic(fmt.Sprintf("offsets: expected %v, got %v", want, got))
	}
}

func resume(protocol string) {
	created, group := filled("resume-"+protocol, 3), prefix+"resume-"+protocol
	m := join(group, protocol, kgo.ConsumeTopics(created.name))
	eventually("all is read", func() bool { return m.read() == 30 })
	must(m.client.CommitUncommittedOffsets(ctx))
	sameOffsets(map[int32]int64{0: 10, 1: 10, 2: 10}, committed(group, created))
	m.leave()
	send(created, 1, []string{"new"})
	m = join(group, protocol, kgo.ConsumeTopics(created.name))
	defer m.leave()
	eventually("the new one is read", func() bool { return m.read() > 0 })
	equal(1, m.read(), "records")
	equal("new", m.values[0], "record")
}

func autoCommit(protocol string) {
	created, group := filled("auto-"+protocol, 1), prefix+"auto-"+protocol
	m := &member{}
	client := newClient(append(groupOptions(protocol), kgo.ConsumerGroup(group), kgo.ConsumeTopics(created.name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(200*time.Millisecond))...)
	for len(m.values) < 10 {
		fetches := client.PollFetches(ctx)
		must(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { m.values = append(m.values, string(r.Value)) })
	}
	// What was polled is committed in the background once it is polled again.
	polling, stop := context.WithCancel(ctx)
	go client.PollFetches(polling)
	eventually("it commits", func() bool { return maps.Equal(map[int32]int64{0: 10}, committed(group, created)) })
	stop()
	client.Close()
}

func groupOptions(protocol string) []kgo.Opt {
	if protocol == classic {
		return nil
	}
	return []kgo.Opt{kgo.WithContext(context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true))}
}

func rebalance(name, protocol string, balancers kgo.Opt) {
	created, group := createTopic("rebalance-"+name, 6), prefix+"rebalance-"+name
	opts := []kgo.Opt{kgo.ConsumeTopics(created.name), balancers}
	first := join(group, protocol, opts...)
	defer first.leave()
	awaitShared(created, 6, first)
	second := join(group, protocol, opts...)
	awaitShared(created, 6, first, second)
	if name == "cooperative" || name == "uniform" {
		// What stays with the first was never taken from it.
		first.mu.Lock()
		equal(fmt.Sprint([]int{3}), fmt.Sprint(first.revoked), "partitions taken away")
		first.mu.Unlock()
	}
	third := join(group, protocol, opts...)
	awaitShared(created, 6, first, second, third)
	second.leave()
	awaitShared(created, 6, first, third)
	third.leave()
	awaitShared(created, 6, first)
	for p := range int32(6) {
		send(created, p, []string{"x"})
	}
	eventually("all partitions are read", func() bool { return first.read() == 6 })
}

func staticMembers(protocol string) {
	created, group := createTopic("static-"+protocol, 4), prefix+"static-"+protocol
	named := func(id string) *member {
		return join(group, protocol, kgo.ConsumeTopics(created.name), kgo.InstanceID(id))
	}
	first, second := named("one"), named("two")
	defer first.leave()
	awaitShared(created, 4, first, second)
	before, revoked := second.partitions(), len(first.revoked)
	second.leave()
	again := named("two")
	awaitShared(created, 4, first, again)
	if protocol == classic {
		equal(fmt.Sprint(before), fmt.Sprint(again.partitions()), "partitions when it is there again")
		equal(revoked, len(first.revoked), "revocations that the other saw")
	}
	again.leave()
	if protocol == classic {
		left := get(admin.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs("two", "nobody")))
		must(left["two"].Err)
		hasError(kerr.UnknownMemberID, left["nobody"].Err, "nobody leaves")
		awaitShared(created, 4, first)
	}
}

func regex(protocol string) {
	one, two := createTopic("regex-"+protocol+"-a", 1), createTopic("regex-"+protocol+"-b", 1)
	createTopic("other-regex-"+protocol, 1)
	m := join(prefix+"regex-"+protocol, protocol, kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+prefix+"regex-"+protocol+"-.*"))
	defer m.leave()
	want := []string{one.name + " 0", two.name + " 0"}
	eventually("both topics", func() bool { return slices.Equal(want, m.partitions()) })
}

// nextGeneration commits by hand as an old generation and as a member that is none.
func nextGeneration() {
	created, group := createTopic("generation", 1), prefix+"generation"
	m := join(group, classic, kgo.ConsumeTopics(created.name))
	defer m.leave()
	awaitShared(created, 1, m)
	id, generation := m.client.GroupMetadata()
	commit := func(id string, generation int32) error {
		request, t, p := kmsg.NewPtrOffsetCommitRequest(), kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
		request.Group, request.MemberID, request.Generation = group, id, generation
		t.Topic, t.TopicID, p.Offset = created.name, created.id, 1
		t.Partitions = append(t.Partitions, p)
		request.Topics = append(request.Topics, t)
		return kerr.ErrorForCode(get(request.RequestWith(ctx, client)).Topics[0].Partitions[0].ErrorCode)
	}
	must(commit(id, generation))
	hasError(kerr.IllegalGeneration, commit(id, generation-1), "old generation")
	hasError(kerr.IllegalGeneration, commit(id, generation+1), "generation to come")
	hasError(kerr.UnknownMemberID, commit("nobody", generation), "unknown member")
	hasError(kerr.UnknownMemberID, commit("", -1), "nobody, while there are members")
}

// migration has a group go to the new protocol and back, one member after the other.
func migration() {
	created, group := filled("migration", 4), prefix+"migration"
	opts := []kgo.Opt{kgo.ConsumeTopics(created.name), kgo.Balancers(kgo.CooperativeStickyBalancer())}
	old := join(group, classic, opts...)
	eventually("all is read", func() bool { return old.read() == 40 })
	must(old.client.CommitUncommittedOffsets(ctx))
	fresh := join(group, modern, opts...)
	awaitShared(created, 4, old, fresh)
	old.leave()
	awaitShared(created, 4, fresh)
	back := join(group, classic, opts...)
	awaitShared(created, 4, fresh, back)
	fresh.leave()
	awaitShared(created, 4, back)
	defer back.leave()
	sameOffsets(map[int32]int64{0: 10, 1: 10, 2: 10, 3: 10}, committed(group, created))
	equal(0, fresh.read()+back.read(), "records that were read again")
}

func groupAdmin(protocol string) {
	created, group := createTopic("admin-"+protocol, 2), prefix+"admin-"+protocol
	m := join(group, protocol, kgo.ConsumeTopics(created.name), kgo.ClientID("the client"))
	awaitShared(created, 2, m)
	listed := func(types []string, states ...string) kadm.ListedGroups {
		return get(admin.ListGroupsByType(ctx, types, states...))
	}
	eventually("it is stable", func() bool { return listed(nil)[group].State == "Stable" })
	equal("consumer", listed(nil)[group].ProtocolType, "protocol type")
	for _, kind := range []string{classic, modern} {
		_, found := listed([]string{kind})[group]
		equal(kind == protocol, found, "listed as "+kind)
	}
	_, found := listed(nil, "Empty")[group]
	equal(false, found, "listed as empty")
	if protocol == classic {
		described := get(admin.DescribeGroups(ctx, group))[group]
		must(described.Err)
		equal("Stable", described.State, "state")
		equal("cooperative-sticky", described.Protocol, "protocol")
		equal(1, len(described.Members), "members")
		equal("the client", described.Members[0].ClientID, "client id")
		equal(2, len(described.AssignedPartitions()[created.name]), "assigned")
	}
	hasError(kerr.NonEmptyGroup, get(admin.DeleteGroups(ctx, group))[group].Err, "delete with a member")
	m.leave()
	eventually("it is empty", func() bool { return listed(nil)[group].State == "Empty" })
	must(get(admin.DeleteGroups(ctx, group))[group].Err)
	hasError(kerr.GroupIDNotFound, get(admin.DeleteGroups(ctx, group))[group].Err, "delete twice")
	_, found = listed(nil)[group]
	equal(false, found, "listed after delete")
}

func groupOffsets() {
	created, group := createTopic("offsets-of-group", 3), prefix+"offsets-of-group"
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: created.name, Partition: 0, At: 5, LeaderEpoch: 0, Metadata: "note"})
	offsets.Add(kadm.Offset{Topic: created.name, Partition: 2, At: 7, LeaderEpoch: -1})
	must(admin.CommitAllOffsets(ctx, group, offsets))
	sameOffsets(map[int32]int64{0: 5, 2: 7}, committed(group, created))
	first, _ := get(admin.FetchOffsets(ctx, group)).Lookup(created.name, 0)
	equal("note", first.Metadata, "metadata")
	equal(int32(0), first.LeaderEpoch, "leader epoch")
	// Several groups in one request, one of which there is not.
	many := admin.FetchManyOffsets(ctx, group, prefix+"no-such-group")
	must(many.Error())
	equal(1, len(many[group].Fetched), "topics of the group")
	equal(0, len(many[prefix+"no-such-group"].Fetched), "topics of no group")
	var some kadm.TopicsSet
	some.Add(created.name, 0, 1)
	deleted := get(admin.DeleteOffsets(ctx, group, some))
	must(deleted.Error())
	sameOffsets(map[int32]int64{2: 7}, committed(group, created))
	var unknown kadm.Offsets
	unknown.Add(kadm.Offset{Topic: created.name, Partition: 9, At: 1})
	hasError(kerr.UnknownTopicOrPartition, admin.CommitAllOffsets(ctx, group, unknown), "no such partition")
}

func groupLag() {
	created, group := filled("lag", 2), prefix+"lag"
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: created.name, Partition: 0, At: 4, LeaderEpoch: -1})
	must(admin.CommitAllOffsets(ctx, group, offsets))
	lag := get(admin.Lag(ctx, group))[group]
	must(lag.Error())
	equal("Empty", lag.State, "state")
	equal(int64(6), lag.Lag[created.name][0].Lag, "lag")
	equal(int64(10), lag.Lag[created.name][1].Lag, "lag without a commit")
}

func findCoordinators() {
	for name, found := range admin.FindGroupCoordinators(ctx, prefix+"one", prefix+"two") {
		must(found.Err)
		equal(bootstrap, fmt.Sprintf("%s:%d", found.Host, found.Port), "coordinator of "+name)
	}
}
