package main

import (
	"encoding/binary"
	"math/rand"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var fetchTests = []test{
	{"long-poll-wakes", longPollWakes},
	{"long-poll-ends", longPollEnds},
	{"long-poll-min-bytes", longPollMinBytes},
	{"fetch-session", fetchSession},
	{"max-bytes-of-partition", maxBytesOfPartition},
	{"max-bytes-of-response", maxBytesOfResponse},
	{"offset-out-of-range", offsetOutOfRange},
	{"start-from-offsets", startFromOffsets},
}

// fetchRequest asks for partitions of t from given offsets, outside of any session, without waiting.
func fetchRequest(t topic, offsets map[int32]int64) *kmsg.FetchRequest {
	request := kmsg.NewPtrFetchRequest()
	request.ReplicaID, request.MinBytes, request.MaxBytes, request.SessionEpoch = -1, 1, 50<<20, -1
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic, ft.TopicID = t.name, t.id
	for p := int32(0); int(p) < len(offsets); p++ {
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.Partition, fp.FetchOffset, fp.PartitionMaxBytes = p, offsets[p], 10<<20
		ft.Partitions = append(ft.Partitions, fp)
	}
	request.Topics = append(request.Topics, ft)
	return request
}

func fetch(t topic, request *kmsg.FetchRequest) *kmsg.FetchResponse {
	return ask[*kmsg.FetchResponse](t, request)
}

// fetchOne fetches from partition 0; change may adapt the request.
func fetchOne(t topic, offset int64, change func(*kmsg.FetchRequest)) kmsg.FetchResponseTopicPartition {
	request := fetchRequest(t, map[int32]int64{0: offset})
	if change != nil {
		change(request)
	}
	return fetch(t, request).Topics[0].Partitions[0]
}

// batches are the headers of the whole batches in the answer to a fetch.
func batches(raw []byte) []kmsg.RecordBatch {
	var found []kmsg.RecordBatch
	for len(raw) > 12 && len(raw) >= 12+int(binary.BigEndian.Uint32(raw[8:])) {
		end := 12 + int(binary.BigEndian.Uint32(raw[8:]))
		batch := kmsg.NewRecordBatch()
		must(batch.ReadFrom(raw[:end]))
		found = append(found, batch)
		raw = raw[end:]
	}
	return found
}

func longPollWakes() {
	created := createTopic("long-poll", 1)
	woken := make(chan kmsg.FetchResponseTopicPartition, 1)
	start := time.Now()
	go func() {
		defer close(woken)
		woken <- fetchOne(created, 0, func(r *kmsg.FetchRequest) { r.MaxWaitMillis = 8_000 })
	}()
	// Nothing tells that the fetch is parked; give it the time to be.
	time.Sleep(200 * time.Millisecond)
	equal(0, len(woken), "answers before there is a record")
	send(created, 0, []string{"wake up"})
	equal(1, len(batches((<-woken).RecordBatches)), "batches")
	equal(true, time.Since(start) < 5*time.Second, "woken by the record, not by the timeout")
}

func longPollEnds() {
	created := createTopic("long-poll-ends", 1)
	start := time.Now()
	found := fetchOne(created, 0, func(r *kmsg.FetchRequest) { r.MaxWaitMillis = 300 })
	must(kerr.ErrorForCode(found.ErrorCode))
	equal(0, len(found.RecordBatches), "bytes")
	equal(int64(0), found.HighWatermark, "high watermark")
	took := time.Since(start)
	equal(true, took >= 290*time.Millisecond && took < 3*time.Second, "waited "+took.String())
}

func longPollMinBytes() {
	created := createTopic("min-bytes", 1)
	send(created, 0, []string{"small"})
	start := time.Now()
	found := fetchOne(created, 0, func(r *kmsg.FetchRequest) { r.MaxWaitMillis, r.MinBytes = 300, 1_000_000 })
	equal(true, time.Since(start) >= 290*time.Millisecond, "waited for more bytes")
	equal(1, len(batches(found.RecordBatches)), "batches")
}

func fetchSession() {
	created := createTopic("session", 2)
	send(created, 0, []string{"a"})
	request := fetchRequest(created, map[int32]int64{0: 0, 1: 0})
	request.SessionEpoch = 0
	first := fetch(created, request)
	must(kerr.ErrorForCode(first.ErrorCode))
	equal(true, first.SessionID != 0, "a session was made")
	equal(2, len(first.Topics[0].Partitions), "partitions in a full answer")

	// Incremental: partition 0 goes on at offset 1; the answer holds only what has news.
	next := func(epoch int32, offsets map[int32]int64) *kmsg.FetchResponse {
		request := fetchRequest(created, offsets)
		request.SessionID, request.SessionEpoch = first.SessionID, epoch
		if len(offsets) == 0 {
			request.Topics = nil
		}
		return fetch(created, request)
	}
	quiet := next(1, map[int32]int64{0: 1})
	must(kerr.ErrorForCode(quiet.ErrorCode))
	equal(0, len(quiet.Topics), "topics without news")
	send(created, 1, []string{"b"})
	news := next(2, nil)
	must(kerr.ErrorForCode(news.ErrorCode))
	equal(1, len(news.Topics), "topics with news")
	equal(1, len(news.Topics[0].Partitions), "partitions with news")
	equal(int32(1), news.Topics[0].Partitions[0].Partition, "partition")
	equal(1, len(batches(news.Topics[0].Partitions[0].RecordBatches)), "batches")

	hasError(kerr.InvalidFetchSessionEpoch, kerr.ErrorForCode(next(7, nil).ErrorCode), "wrong epoch")
	first.SessionID ^= 1
	hasError(kerr.FetchSessionIDNotFound, kerr.ErrorForCode(next(1, nil).ErrorCode), "unknown session")
}

// tenBatches writes ten incompressible batches of 10 kB to a partition.
func tenBatches(t topic, partition int32) {
	for range 10 {
		value := make([]byte, 10_000)
		rand.Read(value)
		send(t, partition, []string{string(value)}, kgo.ProducerBatchCompression(kgo.NoCompression()))
	}
}

func maxBytesOfPartition() {
	created := createTopic("max-bytes", 1)
	tenBatches(created, 0)
	limited := func(bytes int32) kmsg.FetchResponseTopicPartition {
		return fetchOne(created, 3, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].PartitionMaxBytes = bytes })
	}
	// The first batch comes whole even if it is too large.
	first := limited(1)
	equal(1, len(batches(first.RecordBatches)), "batches in one byte")
	equal(int64(3), batches(first.RecordBatches)[0].FirstOffset, "offset")
	equal(int64(10), first.HighWatermark, "high watermark")
	equal(2, len(batches(limited(25_000).RecordBatches)), "batches in 25 kB")
	equal(true, len(limited(25_000).RecordBatches) <= 25_000, "bytes")
	equal(7, len(batches(limited(1_000_000).RecordBatches)), "batches in 1 MB")
}

func maxBytesOfResponse() {
	created := createTopic("max-response", 3)
	for partition := range int32(3) {
		tenBatches(created, partition)
	}
	count := func(maxBytes int32) (full, total int) {
		request := fetchRequest(created, map[int32]int64{0: 0, 1: 0, 2: 0})
		request.MaxBytes = maxBytes
		for _, partition := range fetch(created, request).Topics[0].Partitions {
			found := len(batches(partition.RecordBatches))
			total += found
			if found > 0 {
				full++
			}
		}
		return full, total
	}
	full, total := count(1)
	equal(1, full, "partitions with data in one byte")
	equal(1, total, "batches in one byte")
	full, total = count(150_000)
	equal(2, full, "partitions with data in 150 kB")
	equal(14, total, "batches in 150 kB")
}

func offsetOutOfRange() {
	created := createTopic("range", 1)
	send(created, 0, numbered("%d", 3))
	for _, offset := range []int64{4, 1000, -5} {
		found := fetchOne(created, offset, nil)
		hasError(kerr.OffsetOutOfRange, kerr.ErrorForCode(found.ErrorCode), "fetch")
	}
	atEnd := fetchOne(created, 3, nil)
	must(kerr.ErrorForCode(atEnd.ErrorCode))
	equal(0, len(atEnd.RecordBatches), "bytes at the end")
}

func startFromOffsets() {
	created := createTopic("from", 1)
	sendAt(created, 1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000)
	first := func(offset kgo.Offset, left int) int64 {
		return receive(created, map[int32]kgo.Offset{0: offset}, left)[0].Offset
	}
	equal(int64(1), first(kgo.NewOffset().At(1), 2), "at an offset")
	equal(int64(2), first(kgo.NewOffset().AtEnd().Relative(-1), 1), "relative to the end")
	equal(int64(1), first(kgo.NewOffset().AfterMilli(1_700_000_000_500), 2), "after a time")
	equal(int64(0), first(kgo.NewOffset().At(99), 3), "out of range, reset to the start")
}
