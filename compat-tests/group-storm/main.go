// Members of groups come and go at random, some without a word; afterwards the group must be in order. $BOOTSTRAP is the broker.
package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sessionTimeout is what the classic members ask for, and what compat-tests/run sets for the others.
const sessionTimeout = 6 * time.Second

// patience is what a busy machine may take longer than the session timeout.
const patience = 15 * time.Second

var (
	bootstrap  = os.Getenv("BOOTSTRAP")
	slots      = 50
	duration   = time.Minute
	partitions = int32(60)
	prefix     = fmt.Sprintf("compat-%d-%d-storm-", time.Now().Unix(), os.Getpid())
	admin      *kadm.Client
)

// kind is one way to be in a group.
type kind struct {
	name   string
	modern bool // KIP-848
	opts   []kgo.Opt
}

var kinds = []kind{
	{"eager", false, []kgo.Opt{kgo.Balancers(kgo.RangeBalancer())}},
	{"cooperative", false, []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer())}},
	{"consumer", true, []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer())}},
}

func main() {
	if os.Getenv("SHORT") != "" {
		slots, duration, partitions = 10, 10*time.Second, 12
	}
	seed := time.Now().UnixNano()
	if given := os.Getenv("SEED"); given != "" {
		seed, _ = strconv.ParseInt(given, 10, 64)
	}
	fmt.Printf("     seed %d, %d members for %v\n", seed, slots, duration)
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		fmt.Println("FAIL client", err)
		os.Exit(1)
	}
	admin = kadm.NewClient(client)

	// All kinds at the same time, each in a group of its own.
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := false
	for i, k := range kinds {
		wg.Add(1)
		go func() {
			defer wg.Done()
			start := time.Now()
			err := storm(k, rand.New(rand.NewSource(seed+int64(i))))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = true
				fmt.Printf("FAIL %s %.2f s\n%v\n", k.name, time.Since(start).Seconds(), err)
				return
			}
			fmt.Printf("ok   %s %.2f s\n", k.name, time.Since(start).Seconds())
		}()
	}
	wg.Wait()
	if failed {
		os.Exit(1)
	}
}

// storm is the whole test for one kind of member.
func storm(k kind, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), duration+5*time.Minute)
	defer cancel()
	topic, group := prefix+k.name, prefix+k.name
	if _, err := admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return fmt.Errorf("create the topic: %w", err)
	}
	producer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer producer.Close()

	members, events := make([]*member, slots), map[string]int{}
	for end := time.Now().Add(duration); time.Now().Before(end); {
		slot := rng.Intn(slots)
		switch m := members[slot]; {
		case m == nil:
			events["joined"]++
			if members[slot], err = join(k, group, topic, slot); err != nil {
				return err
			}
		case rng.Intn(10) < 7:
			events["left"]++
			members[slot] = nil
			go m.leave()
		default:
			events["vanished"]++
			members[slot] = nil
			m.vanish()
		}
		record := &kgo.Record{Topic: topic, Partition: int32(rng.Intn(int(partitions))), Value: []byte("in the storm")}
		producer.Produce(ctx, record, nil)
		// Each place changes hands about every second in the short form, every four in the long one.
		time.Sleep(time.Duration(rng.Int63n(int64(2*duration) / int64(10*slots))))
	}
	var left []*member
	for slot, m := range members {
		if m == nil && len(left) == 0 && slot == slots-1 {
			m, err = join(k, group, topic, slot)
			if err != nil {
				return err
			}
		}
		if m != nil {
			left = append(left, m)
		}
	}
	fmt.Printf("     %s: %v, %d members stay\n", k.name, events, len(left))

	took, err := settle(ctx, k, group, left)
	if err != nil {
		return err
	}
	fmt.Printf("     %s: in order after %.1f s\n", k.name, took.Seconds())
	if err := readAll(ctx, producer, topic, group, left); err != nil {
		return err
	}
	for _, m := range left {
		m.leave()
	}
	return removed(ctx, group)
}

// settle waits until the broker and the members agree on who has what, and that for two seconds.
func settle(ctx context.Context, k kind, group string, members []*member) (time.Duration, error) {
	start, since := time.Now(), time.Time{}
	for {
		problem := disorder(ctx, k, group, members)
		switch {
		case problem != "" && time.Since(start) > sessionTimeout+patience:
			return 0, fmt.Errorf("not in order %v after the storm: %s", time.Since(start), problem)
		case problem != "":
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > 2*time.Second:
			return since.Sub(start), nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// disorder says what is wrong with the group, if anything.
func disorder(ctx context.Context, k kind, group string, members []*member) string {
	state, count, err := describe(ctx, k, group)
	if err != nil {
		return err.Error()
	}
	if state != "Stable" || count != len(members) {
		return fmt.Sprintf("%s with %d members, expected %d", state, count, len(members))
	}
	owners, least, most := map[int32]int{}, int(partitions), 0
	for slot, m := range members {
		owned := m.partitions()
		least, most = min(least, len(owned)), max(most, len(owned))
		for _, p := range owned {
			if other, taken := owners[p]; taken {
				return fmt.Sprintf("partition %d is with %d and %d", p, other, slot)
			}
			owners[p] = slot
		}
	}
	if len(owners) != int(partitions) {
		return fmt.Sprintf("%d of %d partitions have an owner", len(owners), partitions)
	}
	if most-least > 1 {
		return fmt.Sprintf("shared out unevenly: %d to %d", least, most)
	}
	return ""
}

func describe(ctx context.Context, k kind, group string) (state string, members int, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return "", 0, err
	}
	defer client.Close()
	if !k.modern {
		described, err := kadm.NewClient(client).DescribeGroups(ctx, group)
		if err != nil {
			return "", 0, err
		}
		return described[group].State, len(described[group].Members), described[group].Err
	}
	request := kmsg.NewPtrConsumerGroupDescribeRequest()
	request.Groups = []string{group}
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return "", 0, err
	}
	found := answer.Groups[0]
	return found.State, len(found.Members), kerr.ErrorForCode(found.ErrorCode)
}

// readAll writes a last record to each partition; the members must read them all and commit that they did.
func readAll(ctx context.Context, producer *kgo.Client, topic, group string, members []*member) error {
	for p := range partitions {
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: p, Value: []byte("the last")}).FirstErr(); err != nil {
			return err
		}
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience + 10*time.Second); ; time.Sleep(100 * time.Millisecond) {
		offsets, err := admin.FetchOffsets(ctx, group)
		if err != nil {
			return err
		}
		var behind []string
		for p := range partitions {
			end, _ := ends.Lookup(topic, p)
			if found, ok := offsets.Lookup(topic, p); !ok || found.At != end.Offset {
				behind = append(behind, fmt.Sprintf("%d at %d of %d", p, found.At, end.Offset))
			}
		}
		if len(behind) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not read, or not committed: partition %s", strings.Join(behind, ", "))
		}
	}
}

// removed deletes the group once it is empty.
func removed(ctx context.Context, group string) error {
	for deadline := time.Now().Add(sessionTimeout + patience); ; time.Sleep(100 * time.Millisecond) {
		answer, err := admin.DeleteGroups(ctx, group)
		if err != nil {
			return err
		}
		if answer[group].Err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("delete the group: %w", answer[group].Err)
		}
	}
}
