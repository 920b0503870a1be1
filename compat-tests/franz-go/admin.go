package main

import (
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var adminTests = []test{
	{"describe-cluster", describeCluster},
	{"topics", topics},
	{"metadata-by-topic-id", metadataByTopicID},
	{"create-partitions", createPartitions},
	{"configs", configs},
	{"offsets", offsets},
	{"delete-records", deleteRecords},
	{"offset-for-leader-epoch", offsetForLeaderEpoch},
}

func describeCluster() {
	request := kmsg.NewPtrDescribeClusterRequest()
	request.EndpointType = 1
	cluster := get(request.RequestWith(ctx, client))
	must(kerr.ErrorForCode(cluster.ErrorCode))
	equal(22, len(cluster.ClusterID), "length of the cluster id")
	host, port, err := net.SplitHostPort(bootstrap)
	must(err)
	controller := false
	for _, broker := range cluster.Brokers {
		equal(host+":"+port, broker.Host+":"+strconv.Itoa(int(broker.Port)), "address of the broker")
		controller = controller || broker.NodeID == cluster.ControllerID
	}
	equal(true, controller, "the controller is one of the brokers")
}

func topics() {
	created := createTopic("topics", 2)
	listed := get(admin.ListTopics(ctx))
	equal(2, len(listed[created.name].Partitions), "partitions")
	equal(created.id, [16]byte(listed[created.name].ID), "topic id")
	_, err := admin.CreateTopic(ctx, 2, 1, nil, created.name)
	hasError(kerr.TopicAlreadyExists, err, "create twice")
	get(admin.DeleteTopic(ctx, created.name))
	_, err = admin.DeleteTopic(ctx, created.name)
	hasError(kerr.UnknownTopicOrPartition, err, "delete twice")
	eventually("no longer listed", func() bool { return !get(admin.ListTopics(ctx)).Has(created.name) })
	again := createTopic("topics", 1)
	equal(false, created.id == again.id, "a new topic has the id of the old one")
}

func metadataByTopicID() {
	created := createTopic("by-id", 3)
	asking := func(id [16]byte) kmsg.MetadataResponseTopic {
		request, wanted := kmsg.NewPtrMetadataRequest(), kmsg.NewMetadataRequestTopic()
		wanted.TopicID = id
		request.Topics = append(request.Topics, wanted)
		return get(request.RequestWith(ctx, client)).Topics[0]
	}
	found := asking(created.id)
	must(kerr.ErrorForCode(found.ErrorCode))
	equal(created.name, *found.Topic, "name")
	equal(3, len(found.Partitions), "partitions")
	missing := asking([16]byte{1, 2, 3})
	hasError(kerr.UnknownTopicID, kerr.ErrorForCode(missing.ErrorCode), "unknown id")
	get(admin.DeleteTopic(ctx, created.name))
	hasError(kerr.UnknownTopicID, kerr.ErrorForCode(asking(created.id).ErrorCode), "deleted id")
}

func createPartitions() {
	created := createTopic("grown", 1)
	must(get(admin.CreatePartitions(ctx, 2, created.name)).Error())
	equal(3, len(get(admin.ListTopics(ctx, created.name))[created.name].Partitions), "partitions")
	hasError(kerr.InvalidPartitions, get(admin.UpdatePartitions(ctx, 2, created.name)).Error(), "fewer")
	hasError(kerr.UnknownTopicOrPartition, get(admin.UpdatePartitions(ctx, 2, prefix+"missing")).Error(), "unknown topic")
}

func configs() {
	created := createTopic("configs", 1, "retention.ms", "1234567")
	value := func(key string) string {
		described := get(get(admin.DescribeTopicConfigs(ctx, created.name)).On(created.name, nil))
		must(described.Err)
		for _, config := range described.Configs {
			if config.Key == key {
				return config.Source.String() + " " + config.MaybeValue()
			}
		}
		return "missing"
	}
	alter := func(op kadm.IncrementalOp, key, value string) error {
		changed := get(admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: op, Name: key, Value: &value}}, created.name))
		return get(changed.On(created.name, nil)).Err
	}
	equal("DYNAMIC_TOPIC_CONFIG 1234567", value("retention.ms"), "set at creation")
	must(alter(kadm.SetConfig, "max.message.bytes", "5000"))
	equal("DYNAMIC_TOPIC_CONFIG 5000", value("max.message.bytes"), "set")
	must(alter(kadm.DeleteConfig, "retention.ms", ""))
	equal("DEFAULT_CONFIG 604800000", value("retention.ms"), "deleted")
	hasError(kerr.InvalidConfig, alter(kadm.SetConfig, "no.such.key", "1"), "unknown key")
	hasError(kerr.InvalidConfig, alter(kadm.AppendConfig, "retention.ms", "1"), "append to a number")
}

func offsets() {
	created := createTopic("offsets", 2)
	sendAt(created, 1_700_000_000_000, 1_700_000_002_000, 1_700_000_001_000)
	at := func(listed kadm.ListedOffsets, err error) kadm.ListedOffset {
		must(err)
		must(listed.Error())
		found, _ := listed.Lookup(created.name, 0)
		return found
	}
	equal(int64(0), at(admin.ListStartOffsets(ctx, created.name)).Offset, "start")
	equal(int64(3), at(admin.ListEndOffsets(ctx, created.name)).Offset, "end")
	equal(int64(3), at(admin.ListCommittedOffsets(ctx, created.name)).Offset, "end, read committed")
	newest := at(admin.ListMaxTimestampOffsets(ctx, created.name))
	equal(int64(1), newest.Offset, "max timestamp")
	equal(int64(1_700_000_002_000), newest.Timestamp, "max timestamp")
	equal(int64(1), at(admin.ListOffsetsAfterMilli(ctx, 1_700_000_000_001, created.name)).Offset, "by time")
	// Nothing is that late: kadm then asks for the end.
	equal(int64(3), at(admin.ListOffsetsAfterMilli(ctx, time.Now().UnixMilli(), created.name)).Offset, "after all")
}

func deleteRecords() {
	created := createTopic("trimmed", 1)
	send(created, 0, numbered("%d", 10))
	trim := func(offset int64) kadm.DeleteRecordsResponse {
		answer := get(admin.DeleteRecords(ctx, kadm.Offsets{created.name: {0: {Topic: created.name, At: offset}}}))
		return get(answer.On(created.name, 0, nil))
	}
	equal(int64(4), trim(4).LowWatermark, "low watermark")
	equal(int64(4), trim(2).LowWatermark, "low watermark never goes back")
	records := receive(created, fromStart(0), 6)
	equal("4", string(records[0].Value), "first record")
	hasError(kerr.OffsetOutOfRange, trim(11).Err, "beyond the end")
	equal(int64(10), trim(-1).LowWatermark, "to the high watermark")
}

func offsetForLeaderEpoch() {
	created := createTopic("epochs", 1)
	send(created, 0, numbered("%d", 7))
	asking := func(current, epoch int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
		request := kmsg.NewPtrOffsetForLeaderEpochRequest()
		request.ReplicaID = -1
		t, p := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		t.Topic, p.CurrentLeaderEpoch, p.LeaderEpoch = created.name, current, epoch
		t.Partitions = append(t.Partitions, p)
		request.Topics = append(request.Topics, t)
		return ask[*kmsg.OffsetForLeaderEpochResponse](created, request).Topics[0].Partitions[0]
	}
	found := asking(created.epoch, created.epoch)
	must(kerr.ErrorForCode(found.ErrorCode))
	equal(created.epoch, found.LeaderEpoch, "epoch")
	equal(int64(7), found.EndOffset, "end of the epoch")
	unknown := asking(-1, created.epoch+5)
	must(kerr.ErrorForCode(unknown.ErrorCode))
	equal(int64(-1), unknown.EndOffset, "end of an epoch to come")
	hasError(kerr.UnknownLeaderEpoch, kerr.ErrorForCode(asking(created.epoch+1, created.epoch).ErrorCode), "epoch ahead")
}
