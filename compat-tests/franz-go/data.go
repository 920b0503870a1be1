package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var dataTests = []test{
	{"produce-and-consume", produceAndConsume},
	{"codec-none", func() { codec("none", 0, kgo.NoCompression()) }},
	{"codec-gzip", func() { codec("gzip", 1, kgo.GzipCompression()) }},
	{"codec-snappy", func() { codec("snappy", 2, kgo.SnappyCompression()) }},
	{"codec-lz4", func() { codec("lz4", 3, kgo.Lz4Compression()) }},
	{"codec-zstd", func() { codec("zstd", 4, kgo.ZstdCompression()) }},
	{"codec-of-topic", codecOfTopic},
	{"headers", headers},
	{"idempotent-duplicate", idempotentDuplicate},
	{"idempotent-gap", idempotentGap},
	{"corrupt-batch", corruptBatch},
	{"deleted-topic-id", deletedTopicID},
}

func produceAndConsume() {
	count := 100_000
	if short {
		count = 5_000
	}
	created := createTopic("many", 5)
	for p := int32(0); p < 5; p++ {
		send(created, p, numbered(fmt.Sprintf("%d-%%d", p), count))
	}
	next := make([]int, 5)
	for _, record := range receive(created, fromStart(0, 1, 2, 3, 4), 5*count) {
		p := record.Partition
		equal(int64(next[p]), record.Offset, "offset")
		equal(fmt.Sprintf("%d-%d", p, next[p]), string(record.Value), "value")
		next[p]++
	}
}

// codec checks that a batch is kept as its producer compressed it, and can be read.
func codec(name string, attribute int16, option kgo.CompressionCodec) {
	created := createTopic("codec-"+name, 1)
	checkCodec(created, attribute, kgo.ProducerBatchCompression(option))
}

func codecOfTopic() {
	created := createTopic("codec-of-topic", 1, "compression.type", "zstd")
	checkCodec(created, 4, kgo.ProducerBatchCompression(kgo.GzipCompression()))
}

func checkCodec(created topic, attribute int16, opt kgo.Opt) {
	values := numbered(strings.Repeat("compressible ", 20)+"%d", 500)
	send(created, 0, values, opt, kgo.ProducerLinger(50*time.Millisecond))
	for i, record := range receive(created, fromStart(0), len(values)) {
		equal(values[i], string(record.Value), "value")
	}
	for _, batch := range batches(fetchOne(created, 0, nil).RecordBatches) {
		equal(attribute, batch.Attributes&7, "codec of the batch")
	}
}

func headers() {
	created := createTopic("headers", 1)
	sent := []kgo.RecordHeader{{Key: "same", Value: []byte("1")}, {Key: "", Value: []byte{0, 255}}, {Key: "same", Value: nil}, {Key: "same", Value: []byte("1")}}
	must(client.ProduceSync(ctx, &kgo.Record{Topic: created.name, Headers: sent}).FirstErr())
	equal(fmt.Sprintf("%#v", sent), fmt.Sprintf("%#v", receive(created, fromStart(0), 1)[0].Headers), "headers")
}

// sendAt produces one record per timestamp.
func sendAt(t topic, stamps ...int64) {
	for _, stamp := range stamps {
		must(client.ProduceSync(ctx, &kgo.Record{Topic: t.name, Partition: 0, Key: []byte("k"), Timestamp: time.UnixMilli(stamp)}).FirstErr())
	}
}

// --- hand-made batches: what a producer sends again after it lost the answer ---

type batchOf struct {
	producer int64
	epoch    int16
	sequence int32
	records  int32
}

func (b batchOf) encode() []byte {
	var records []byte
	for i := int32(0); i < b.records; i++ {
		record := kmsg.NewRecord()
		record.OffsetDelta = i
		record.Value = fmt.Appendf(nil, "record %d", b.sequence+i)
		record.Length = int32(len(record.AppendTo(nil)) - 1) // the length itself takes one byte while it is 0
		records = record.AppendTo(records)
	}
	batch := kmsg.NewRecordBatch()
	batch.PartitionLeaderEpoch, batch.Magic = -1, 2
	batch.LastOffsetDelta = b.records - 1
	batch.FirstTimestamp, batch.MaxTimestamp = time.Now().UnixMilli(), time.Now().UnixMilli()
	batch.ProducerID, batch.ProducerEpoch, batch.FirstSequence = b.producer, b.epoch, b.sequence
	batch.NumRecords, batch.Records = b.records, records
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func produce(t topic, raw []byte) kmsg.ProduceResponseTopicPartition {
	request, rt, rp := kmsg.NewPtrProduceRequest(), kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	request.Acks, request.TimeoutMillis = -1, 10_000
	rt.Topic, rt.TopicID, rp.Records = t.name, t.id, raw
	rt.Partitions = append(rt.Partitions, rp)
	request.Topics = append(request.Topics, rt)
	return ask[*kmsg.ProduceResponse](t, request).Topics[0].Partitions[0]
}

func newProducerID() batchOf {
	request := kmsg.NewPtrInitProducerIDRequest()
	request.ProducerID, request.ProducerEpoch = -1, -1
	given := get(request.RequestWith(ctx, client))
	must(kerr.ErrorForCode(given.ErrorCode))
	return batchOf{producer: given.ProducerID, epoch: given.ProducerEpoch, records: 3}
}

func idempotentDuplicate() {
	created, batch := createTopic("duplicate", 1), newProducerID()
	for number := int32(0); number < 6; number++ {
		batch.sequence = number * 3
		answer := produce(created, batch.encode())
		must(kerr.ErrorForCode(answer.ErrorCode))
		equal(int64(number*3), answer.BaseOffset, "offset")
	}
	// The last five batches of a producer are remembered.
	for number := int32(1); number < 6; number++ {
		batch.sequence = number * 3
		answer := produce(created, batch.encode())
		must(kerr.ErrorForCode(answer.ErrorCode))
		equal(int64(number*3), answer.BaseOffset, "offset of the first try")
	}
	for i, record := range receive(created, fromStart(0), 18) {
		equal(fmt.Sprintf("record %d", i), string(record.Value), "value")
	}
}

func idempotentGap() {
	created, batch := createTopic("gap", 1), newProducerID()
	must(kerr.ErrorForCode(produce(created, batch.encode()).ErrorCode))
	batch.sequence = 4
	hasError(kerr.OutOfOrderSequenceNumber, kerr.ErrorForCode(produce(created, batch.encode()).ErrorCode), "gap")
	batch.sequence, batch.epoch = 0, batch.epoch+1
	must(kerr.ErrorForCode(produce(created, batch.encode()).ErrorCode))
	batch.sequence, batch.epoch = 3, batch.epoch-1
	hasError(kerr.InvalidProducerEpoch, kerr.ErrorForCode(produce(created, batch.encode()).ErrorCode), "old epoch")
	receive(created, fromStart(0), 6)
}

func corruptBatch() {
	created := createTopic("corrupt", 1)
	raw := batchOf{producer: -1, epoch: -1, sequence: -1, records: 2}.encode()
	raw[len(raw)-2] ^= 1
	hasError(kerr.CorruptMessage, kerr.ErrorForCode(produce(created, raw).ErrorCode), "wrong checksum")
	raw[len(raw)-2] ^= 1
	equal(int64(0), produce(created, raw).BaseOffset, "offset of the batch with the right checksum")
}

func deletedTopicID() {
	old := createTopic("deleted", 1)
	get(admin.DeleteTopic(ctx, old.name))
	createTopic("deleted", 1)
	raw := batchOf{producer: -1, epoch: -1, sequence: -1, records: 1}.encode()
	hasError(kerr.UnknownTopicID, kerr.ErrorForCode(produce(old, raw).ErrorCode), "produce to the id of a deleted topic")
	hasError(kerr.UnknownTopicID, kerr.ErrorForCode(fetchOne(old, 0, nil).ErrorCode), "fetch from the id of a deleted topic")
}
