package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// member is a consumer in a group, which can leave it or vanish without a word.
type member struct {
	client *kgo.Client
	done   chan struct{}

	mu    sync.Mutex
	owned map[int32]bool
	conns []net.Conn
	gone  bool
}

func join(k kind, group, topic string, slot int) (*member, error) {
	m := &member{done: make(chan struct{}), owned: map[int32]bool{}}
	lost := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { m.own(gone[topic], false) }
	opts := append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(sessionTimeout),
		kgo.RebalanceTimeout(sessionTimeout),
		kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.AutoCommitInterval(500 * time.Millisecond),
		kgo.FetchMaxWait(2 * time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) { m.own(added[topic], true) }),
		kgo.OnPartitionsRevoked(lost),
		kgo.OnPartitionsLost(lost),
		kgo.Dialer(m.dial),
	}, k.opts...)
	// Some have a name, and their place is kept for them while they are away.
	if slot%5 == 0 {
		opts = append(opts, kgo.InstanceID(fmt.Sprint("place-", slot)))
	}
	if k.modern {
		// What franz-go asks for while it takes the protocol for new.
		opts = append(opts, kgo.WithContext(context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	m.client = client
	go m.poll()
	return m, nil
}

func (m *member) poll() {
	defer close(m.done)
	for !m.client.PollFetches(context.Background()).IsClientClosed() {
	}
}

func (m *member) own(partitions []int32, has bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range partitions {
		if has {
			m.owned[p] = true
		} else {
			delete(m.owned, p)
		}
	}
}

func (m *member) partitions() (owned []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.owned {
		owned = append(owned, p)
	}
	return owned
}

func (m *member) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && m.gone {
		conn.Close()
		return nil, errors.New("this one has vanished")
	}
	if err == nil {
		m.conns = append(m.conns, conn)
	}
	return conn, err
}

// leave ends the member as it should be; one with a name stays in the group.
func (m *member) leave() {
	m.client.CloseAllowingRebalance()
	<-m.done
}

// vanish cuts its connections, as if the process or the network had died.
func (m *member) vanish() {
	m.mu.Lock()
	m.gone = true
	for _, conn := range m.conns {
		conn.Close()
	}
	m.mu.Unlock()
	go m.client.CloseAllowingRebalance()
}
