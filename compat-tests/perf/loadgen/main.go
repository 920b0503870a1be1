// Command loadgen measures a Kafka-protocol broker while using as little CPU
// of its own as it can: it speaks the wire protocol directly, sends frames
// that were built once, and skips over what it fetches by the batch headers.
//
//	loadgen produce   prebuilt Produce requests, pipelined, as fast as they are taken
//	loadgen rate      one-record Produce requests at a fixed rate, latency from the intended send time
//	loadgen consume   everything in a topic, from offset 0 to the high watermark
//	loadgen commit    OffsetCommit requests of many groups at a fixed rate
//	loadgen committed wait until the offsets of all these groups are answered
//	loadgen topic     create or delete topics and wait until that is visible, or wait until they are served
//	loadgen probe     wait for the first correct ApiVersions and Metadata answers
//
// Each prints one JSON object on one line. Exit status 1 means failure, with
// the reason under "error". Linux only (ppoll, timer slack).
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

var (
	flags     = flag.NewFlagSet("loadgen", flag.ExitOnError)
	bootstrap = flags.String("b", "127.0.0.1:9092", "broker, `host:port`")
	topicName = flags.String("topic", "bench", "topic")
	records   = flags.Int64("n", 1000000, "records to produce; for consume, the number that must be there (-1: any)")
	seconds   = flags.Float64("secs", 0, "produce: stop after this many seconds even if -n is not reached (0: no limit)")
	size      = flags.Int("size", 1024, "bytes of each record value")
	batchSize = flags.Int("batch", 131072, "produce: largest batch in bytes; 1 means one record")
	codec     = flags.String("codec", "none", "compression of the batches (only none)")
	acksFlag  = flags.String("acks", "all", "0, 1 or all")
	conns     = flags.Int("conns", 1, "produce, rate: connections to each leader")
	inflight  = flags.Int("inflight", 5, "produce: requests in flight on each connection")
	parts     = flags.Int("partitions", 0, "topic: partitions to create; commit, committed: partitions of each group; produce, rate, consume: use the first so many (0: all)")
	perSecond = flags.Float64("rate", 5000, "rate: requests per second")
	warm      = flags.Int64("warm", 0, "rate: requests sent first at the same rate and left out of the figures")
	passes    = flags.Int("passes", 1, "consume: read everything this many times")
	verify    = flags.Bool("verify", false, "consume: check the CRC, the offsets and the counts of every batch")
	maxPart   = flags.Int("max-partition-bytes", 1<<20, "consume: limit for each partition in one Fetch")
	maxBytes  = flags.Int("max-bytes", 50<<20, "consume: limit for one Fetch")
	create    = flags.Bool("create", false, "topic: create")
	remove    = flags.Bool("delete", false, "topic: delete")
	await     = flags.Bool("await", false, "topic: wait until the leaders of all partitions answer")
	count     = flags.Int("count", 1, "topic: this many topics, NAME-0, NAME-1, ... (1: just NAME)")
	rf        = flags.Int("rf", 1, "topic: replication factor")
	groups    = flags.Int("groups", 1000, "commit, committed: groups, each of all partitions")
	configs   = flags.String("configs", "", "topic: `key=value,...`")
	interval  = flags.Duration("interval", 500*time.Microsecond, "probe: pause between attempts")
	timeout   = flags.Duration("timeout", 60*time.Second, "give up waiting after this time")
)

type result map[string]any

func main() {
	modes := map[string]func() (result, error){
		"produce": produce, "rate": fixedRate, "consume": consume, "topic": topic, "probe": probe,
		"commit": commit, "committed": committed,
	}
	run := func() (result, error) { return nil, nil }
	if len(os.Args) > 1 {
		run = modes[os.Args[1]]
	}
	if len(os.Args) < 2 || run == nil {
		fmt.Fprintln(os.Stderr, "usage: loadgen produce|rate|consume|commit|committed|topic|probe [flags]; loadgen produce -h lists the flags")
		os.Exit(2)
	}
	flags.Parse(os.Args[2:])
	if flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "unexpected argument:", flags.Arg(0))
		os.Exit(2)
	}
	// Threads blocked in a system call must find a free P when they return, and
	// the few buffers there are live until the end.
	runtime.GOMAXPROCS(max(8, runtime.NumCPU()))
	debug.SetGCPercent(400)

	r, err := run()
	if r == nil {
		r = result{}
	}
	r["mode"] = os.Args[1]
	r["ok"] = err == nil
	if err != nil {
		r["error"] = err.Error()
	}
	r["client_cpu_s"] = cpuSelf()
	line, jerr := json.Marshal(r)
	if jerr != nil {
		fmt.Fprintln(os.Stderr, jerr)
		os.Exit(1)
	}
	fmt.Println(string(line))
	if err != nil {
		os.Exit(1)
	}
}

func cpuSelf() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// throughput fills in the figures every bulk mode reports. Bytes are bytes of
// record values; MB is 10^6 bytes.
func throughput(r result, n int64, took time.Duration) {
	s := took.Seconds()
	value := float64(n) * float64(*size)
	r["records"] = n
	r["secs"] = s
	r["records_per_s"] = float64(n) / s
	r["value_bytes"] = int64(value)
	r["mb_per_s"] = value / s / 1e6
}
