// A client for the torture harness, with franz-go: it produces, consumes, commits and administers as it is told.
// The protocol is described in src/worker.rs.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 20 * time.Second

type worker struct {
	seeds    []string
	producer *kgo.Client
	// client is for everything but records, and learns of new leaders at once.
	client *kgo.Client
	admin  *kadm.Client
	stdout *bufio.Writer
	lock   sync.Mutex
}

func main() {
	w := &worker{seeds: strings.Split(os.Args[1], ","), stdout: bufio.NewWriter(os.Stdout)}
	seeds := kgo.SeedBrokers(w.seeds...)
	var options []kgo.Opt
	// To measure the cluster and not how long the client waits before it asks again. It dials a
	// broker that is gone for each request in flight, one after the other, and may then ask that
	// very one who leads.
	if len(os.Args) > 2 && os.Args[2] == "impatient" {
		options = append(options, kgo.MetadataMinAge(20*time.Millisecond),
			kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
			kgo.DialTimeout(100*time.Millisecond), kgo.RequestTimeoutOverhead(250*time.Millisecond),
			kgo.ProduceRequestTimeout(250*time.Millisecond))
	}
	w.producer = get(kgo.NewClient(append(options, seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()))...))
	w.client = get(kgo.NewClient(seeds, kgo.MetadataMinAge(50*time.Millisecond), kgo.DialTimeout(2*time.Second),
		kgo.RequestTimeoutOverhead(4*time.Second), kgo.RetryTimeout(patience)))
	w.admin = kadm.NewClient(w.client)
	w.say("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "send":
			w.send(words[1], number(words[2]), words[3])
		case "ask":
			go w.answer(words[1], words[2], words[3:])
		}
	}
}

func (w *worker) say(format string, args ...any) {
	w.lock.Lock()
	defer w.lock.Unlock()
	fmt.Fprintf(w.stdout, format+"\n", args...)
	w.stdout.Flush()
}

func (w *worker) send(topic string, partition int32, value string) {
	record := &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}
	w.producer.Produce(context.Background(), record, func(r *kgo.Record, err error) {
		if err != nil {
			w.say("unsure %s %d %s %s", topic, partition, value, oneLine(err))
		} else {
			w.say("sent %s %d %s %d", topic, partition, value, r.Offset)
		}
	})
}

func (w *worker) answer(id, verb string, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	said, err := w.do(ctx, verb, args)
	if err != nil {
		w.say("answer %s fail %s", id, oneLine(err))
	} else {
		w.say("answer %s ok %s", id, said)
	}
}

func (w *worker) do(ctx context.Context, verb string, args []string) (string, error) {
	switch verb {
	case "read":
		return "", w.read(args)
	case "join":
		return "", w.join(args[0], args[1])
	case "commit":
		return "", w.commit(ctx, args)
	case "fetch":
		return w.fetch(ctx, args)
	case "end":
		return w.end(ctx, args)
	}
	return w.administer(ctx, verb, args)
}

// read TOPIC PARTITION...: from the beginning, until the process ends.
func (w *worker) read(args []string) error {
	partitions := map[int32]kgo.Offset{}
	for _, partition := range args[1:] {
		partitions[number(partition)] = kgo.NewOffset().AtStart()
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(w.seeds...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{args[0]: partitions}))
	if err == nil {
		go w.consume(consumer)
	}
	return err
}

func (w *worker) join(group, topic string) error {
	consumer, err := kgo.NewClient(kgo.SeedBrokers(w.seeds...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.AutoCommitInterval(time.Second))
	if err == nil {
		go w.consume(consumer)
	}
	return err
}

func (w *worker) consume(consumer *kgo.Client) {
	for {
		consumer.PollFetches(context.Background()).EachPartition(func(p kgo.FetchTopicPartition) {
			var line strings.Builder
			for _, r := range p.Records {
				fmt.Fprintf(&line, " %d:%s:%d", r.Offset, r.Value, r.LeaderEpoch)
			}
			if line.Len() > 0 {
				w.say("polled %s %d%s", p.Topic, p.Partition, line.String())
			}
			if p.Err != nil {
				w.say("note consumer: %s", oneLine(p.Err))
			}
		})
	}
}

// commit GROUP TOPIC PARTITION OFFSET, as a group without members.
func (w *worker) commit(ctx context.Context, args []string) error {
	offsets := kadm.Offsets{}
	offsets.AddOffset(args[1], number(args[2]), get(strconv.ParseInt(args[3], 10, 64)), -1)
	answer, err := w.admin.CommitOffsets(ctx, args[0], offsets)
	return errors.Join(err, answer.Error())
}

// fetch GROUP TOPIC PARTITION
func (w *worker) fetch(ctx context.Context, args []string) (string, error) {
	answer, err := w.admin.FetchOffsets(ctx, args[0])
	if err = errors.Join(err, answer.Error()); err != nil {
		return "", err
	}
	if offset, found := answer.Lookup(args[1], number(args[2])); found {
		return strconv.FormatInt(offset.At, 10), nil
	}
	return "-1", nil
}

// end TOPIC PARTITION
func (w *worker) end(ctx context.Context, args []string) (string, error) {
	ends, err := w.admin.ListEndOffsets(ctx, args[0])
	if err != nil {
		return "", err
	}
	end, found := ends.Lookup(args[0], number(args[1]))
	if !found || end.Err != nil {
		return "", errors.Join(errors.New("no end"), end.Err)
	}
	return strconv.FormatInt(end.Offset, 10), nil
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

func number(word string) int32 {
	return int32(get(strconv.ParseInt(word, 10, 32)))
}

func get[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
