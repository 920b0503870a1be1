// The tests of franz-go, kadm and hand-made requests against the broker at $BOOTSTRAP.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	bootstrap = os.Getenv("BOOTSTRAP")
	short     = os.Getenv("SHORT") != ""
	prefix    = fmt.Sprintf("compat-%d-%d-franz-", time.Now().Unix(), os.Getpid())
	admin     *kadm.Client
	// client has no topic of its own; hand-made requests go through it.
	client *kgo.Client
	ctx    context.Context
)

type test struct {
	name string
	run  func()
}

func main() {
	client = newClient()
	admin = kadm.NewClient(client)
	tests := slices.Concat(adminTests, dataTests, fetchTests, groupTests)
	failed := 0
	for _, t := range tests {
		if only := os.Getenv("ONLY"); only != "" && only != t.name {
			continue
		}
		if short && longOnly[t.name] {
			fmt.Printf("skip %s (short form)\n", t.name)
			continue
		}
		start := time.Now()
		failure := attempt(t.run)
		word := "ok  "
		if failure != "" {
			word = "FAIL"
			failed++
		}
		fmt.Printf("%s %s %.2f s\n%s", word, t.name, time.Since(start).Seconds(), failure)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// attempt runs one test under a deadline and returns what it panicked with.
func attempt(run func()) (failure string) {
	var cancel func()
	ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			failure = fmt.Sprintf("%v\n%s", r, debug.Stack())
		}
	}()
	run()
	return ""
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func get[T any](value T, err error) T {
	must(err)
	return value
}

func equal[T comparable](want, got T, what string) {
	if want != got {
		panic(fmt.Sprintf("%s: expected %v, got %v", what, want, got))
	}
}

func hasError(want, got error, what string) {
	if !errors.Is(got, want) {
		panic(fmt.Sprintf("%s: expected %v, got %v", what, want, got))
	}
}

// eventually waits for what a broker may do after its answer.
func eventually(what string, condition func() bool) {
	for !condition() {
		if ctx.Err() != nil {
			panic("never happened: " + what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func newClient(opts ...kgo.Opt) *kgo.Client {
	// The tests want to see what the broker knows now, not what it knew some seconds ago.
	return get(kgo.NewClient(append(opts, kgo.SeedBrokers(bootstrap), kgo.MetadataMinAge(10*time.Millisecond))...))
}

// topic is a topic of this run, with what a hand-made request needs to know of it.
type topic struct {
	name   string
	id     [16]byte
	leader int32
	epoch  int32
}

func createTopic(name string, partitions int32, configs ...string) topic {
	values := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		values[configs[i]] = &configs[i+1]
	}
	get(admin.CreateTopic(ctx, partitions, 1, values, prefix+name))
	return awaitTopic(prefix+name, partitions)
}

// awaitTopic waits until every partition serves: Apache Kafka names a leader a moment before that leader is there.
func awaitTopic(name string, partitions int32) (t topic) {
	starts := map[int32]int64{}
	for p := range partitions {
		starts[p] = 0
	}
	eventually(name+" serves", func() bool {
		described := get(admin.Metadata(ctx, name)).Topics[name]
		if described.Err != nil || len(described.Partitions) != int(partitions) {
			return false
		}
		first := described.Partitions[0]
		t = topic{name, described.ID, first.Leader, first.LeaderEpoch}
		for _, partition := range fetch(t, fetchRequest(t, starts)).Topics[0].Partitions {
			if partition.ErrorCode != 0 {
				return false
			}
		}
		return true
	})
	return t
}

// ask sends one hand-made request to the leader of t.
func ask[R kmsg.Response](t topic, request kmsg.Request) R {
	return get(client.Broker(int(t.leader)).RetriableRequest(ctx, request)).(R)
}

// send produces values to one partition with the default, idempotent, producer.
func send(t topic, partition int32, values []string, opts ...kgo.Opt) {
	producer := newClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	defer producer.Close()
	records := make([]*kgo.Record, len(values))
	for i, value := range values {
		records[i] = &kgo.Record{Topic: t.name, Partition: partition, Value: []byte(value)}
	}
	must(producer.ProduceSync(ctx, records...).FirstErr())
	for i, record := range records[1:] {
		equal(records[i].Offset+1, record.Offset, "offset that was acknowledged")
	}
}

// receive consumes count records, from several partitions if from says so.
func receive(t topic, from map[int32]kgo.Offset, count int, opts ...kgo.Opt) []*kgo.Record {
	consumer := newClient(append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.name: from}))...)
	defer consumer.Close()
	var records []*kgo.Record
	for len(records) < count {
		fetches := consumer.PollFetches(ctx)
		must(fetches.Err())
		records = append(records, fetches.Records()...)
	}
	equal(count, len(records), "records")
	return records
}

func fromStart(partitions ...int32) map[int32]kgo.Offset {
	from := map[int32]kgo.Offset{}
	for _, partition := range partitions {
		from[partition] = kgo.NewOffset().AtStart()
	}
	return from
}

func numbered(format string, count int) []string {
	values := make([]string, count)
	for i := range values {
		values[i] = fmt.Sprintf(format, i)
	}
	return values
}
