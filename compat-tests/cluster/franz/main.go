// franz-go against a cluster: `load` writes and reads until its stdin ends, `nearest` reads from the replica of its rack.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 60 * time.Second

func main() {
	modes := map[string]func(bootstrap, topic string, args []string) map[string]any{"load": load, "nearest": nearest}
	answer := modes[os.Args[1]](os.Args[2], os.Args[3], os.Args[4:])
	line := get(json.Marshal(answer))
	fmt.Println(string(line))
}

func get[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// progress is the longest time between two successes.
type progress struct {
	last    time.Time
	longest time.Duration
	count   int64
}

func (p *progress) step() {
	now := time.Now()
	if p.count > 0 {
		p.longest = max(p.longest, now.Sub(p.last))
	}
	p.last = now
	p.count++
}

// load sends numbered records to every partition, one producer and one group member. The number of each record in its
// partition must be its offset: then nothing is lost, doubled or out of order.
func load(bootstrap, topic string, args []string) map[string]any {
	partitions, rate := get(strconv.Atoi(args[0])), get(strconv.Atoi(args[1]))
	var mu sync.Mutex
	var failures, errors []string
	acks, reads := progress{}, progress{}
	rereads := 0
	sent, read := make([]int64, partitions), make([]int64, partitions)

	producer := get(kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2*time.Millisecond), kgo.RecordDeliveryTimeout(2*time.Minute)))
	consumer := get(kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(time.Second)))

	delivered := func(r *kgo.Record, number int64, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failures = append(failures, err.Error())
		} else if r.Offset != number {
			failures = append(failures, fmt.Sprintf("record %d of partition %d is at %d", number, r.Partition, r.Offset))
		} else {
			acks.step()
		}
	}
	reading, stopReading := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for reading.Err() == nil {
			fetches := consumer.PollFetches(reading)
			mu.Lock()
			if reading.Err() == nil {
				fetches.EachError(func(_ string, p int32, err error) {
					errors = append(errors, fmt.Sprintf("partition %d: %v", p, err))
				})
			}
			fetches.EachRecord(func(r *kgo.Record) {
				switch expected := read[r.Partition]; {
				case string(r.Value) != strconv.FormatInt(r.Offset, 10):
					errors = append(errors, fmt.Sprintf("%s at offset %d of partition %d", r.Value, r.Offset, r.Partition))
				case r.Offset > expected:
					errors = append(errors, fmt.Sprintf("partition %d jumps from %d to %d", r.Partition, expected, r.Offset))
				case r.Offset < expected:
					rereads++
					return
				default:
					reads.step()
				}
				read[r.Partition] = r.Offset + 1
			})
			mu.Unlock()
		}
	}()

	var stopping atomic.Bool
	go func() {
		io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		stopping.Store(true)
	}()
	start, total := time.Now(), 0
	for said := false; !stopping.Load(); {
		for due := int(time.Since(start).Seconds() * float64(rate)); total < due; total++ {
			p := total % partitions
			number := sent[p]
			sent[p]++
			record := &kgo.Record{Topic: topic, Partition: int32(p), Value: strconv.AppendInt(nil, number, 10)}
			producer.Produce(context.Background(), record, func(r *kgo.Record, err error) { delivered(r, number, err) })
		}
		mu.Lock()
		if !said && acks.count > 0 && reads.count > 0 {
			said = true
			fmt.Println("under way")
		}
		mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
	flushing, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := producer.Flush(flushing); err != nil {
		failures = append(failures, "flush: "+err.Error())
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		all := reads.count >= acks.count
		mu.Unlock()
		if all {
			break
		}
	}
	stopReading()
	<-done
	consumer.Close()
	producer.Close()
	mu.Lock()
	defer mu.Unlock()
	return map[string]any{"sent": total, "acked": acks.count, "read": reads.count, "rereads": rereads, "failures": failures,
		"errors": errors, "longest_ack_ms": acks.longest.Milliseconds(), "longest_read_ms": reads.longest.Milliseconds()}
}

// fetched counts the bytes of Fetch answers by broker.
type fetched struct {
	mu    sync.Mutex
	bytes map[int32]int
}

func (f *fetched) OnBrokerRead(meta kgo.BrokerMetadata, key int16, size int, _, _ time.Duration, _ error) {
	const fetch = 1
	if key == fetch {
		f.mu.Lock()
		f.bytes[meta.NodeID] += size
		f.mu.Unlock()
	}
}

// nearest reads so many records as a client of a rack, and tells how much each broker has sent it.
func nearest(bootstrap, topic string, args []string) map[string]any {
	rack, count := args[0], get(strconv.Atoi(args[1]))
	hook := &fetched{bytes: map[int32]int{}}
	client := get(kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.ConsumeTopics(topic), kgo.Rack(rack), kgo.WithHooks(hook),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond)))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errors []string
	read := 0
	for read < count && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(_ string, _ int32, err error) { errors = append(errors, err.Error()) })
		read += fetches.NumRecords()
	}
	hook.mu.Lock()
	defer hook.mu.Unlock()
	return map[string]any{"read": read, "errors": errors, "bytes": hook.bytes}
}
