package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (w *worker) administer(ctx context.Context, verb string, args []string) (string, error) {
	switch verb {
	case "create":
		return "", w.create(ctx, args)
	case "leaders":
		return w.partitions(ctx, args[0], func(p kmsg.MetadataResponseTopicPartition) string { return fmt.Sprint(p.Leader) })
	case "isr":
		return w.partitions(ctx, args[0], func(p kmsg.MetadataResponseTopicPartition) string { return list(p.ISR) })
	case "replicas":
		return w.partitions(ctx, args[0], func(p kmsg.MetadataResponseTopicPartition) string { return list(p.Replicas) })
	case "brokers":
		return w.brokers(ctx)
	case "controller":
		return w.controller(ctx)
	case "reassign":
		return "", w.reassign(ctx, args)
	case "moves":
		return w.moves(ctx)
	case "elect":
		return "", w.elect(ctx, args)
	case "unregister":
		return "", w.unregister(ctx, number(args[0]))
	}
	return "", fmt.Errorf("unknown: %s", verb)
}

// create TOPIC PARTITIONS REPLICAS [KEY=VALUE...]
func (w *worker) create(ctx context.Context, args []string) error {
	configs := map[string]*string{}
	for _, setting := range args[3:] {
		key, value, _ := strings.Cut(setting, "=")
		configs[key] = &value
	}
	answer, err := w.admin.CreateTopic(ctx, number(args[1]), int16(number(args[2])), configs, args[0])
	// The answer to an earlier try may have been lost.
	if errors.Is(answer.Err, kerr.TopicAlreadyExists) {
		return nil
	}
	return errors.Join(err, answer.Err)
}

// metadata asks a broker, which kadm does not do each time. No topics: those of the brokers alone.
func (w *worker) metadata(ctx context.Context, topics ...string) (*kmsg.MetadataResponse, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		request.Topics = append(request.Topics, topic)
	}
	return request.RequestWith(ctx, w.client)
}

// partitions is what is to be said of each partition, in their order: `0=… 1=…`.
func (w *worker) partitions(ctx context.Context, topic string, what func(kmsg.MetadataResponseTopicPartition) string) (string, error) {
	metadata, err := w.metadata(ctx, topic)
	if err != nil {
		return "", err
	}
	if len(metadata.Topics) != 1 {
		return "", errors.New("no such topic")
	}
	found := metadata.Topics[0]
	if err = kerr.ErrorForCode(found.ErrorCode); err != nil {
		return "", err
	}
	slices.SortFunc(found.Partitions, func(a, b kmsg.MetadataResponseTopicPartition) int { return int(a.Partition - b.Partition) })
	var words []string
	for _, p := range found.Partitions {
		words = append(words, fmt.Sprintf("%d=%s", p.Partition, what(p)))
	}
	return strings.Join(words, " "), nil
}

func (w *worker) brokers(ctx context.Context) (string, error) {
	metadata, err := w.metadata(ctx)
	if err != nil {
		return "", err
	}
	var ids []int32
	for _, broker := range metadata.Brokers {
		ids = append(ids, broker.NodeID)
	}
	return list(ids), nil
}

// controller is the leader of the metadata; what Metadata tells is any broker with Apache Kafka.
func (w *worker) controller(ctx context.Context) (string, error) {
	request := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	request.Topics = append(request.Topics, topic)
	answer, err := request.RequestWith(ctx, w.client)
	if err == nil && kerr.ErrorForCode(answer.ErrorCode) == nil && len(answer.Topics) == 1 {
		return fmt.Sprint(answer.Topics[0].Partitions[0].LeaderID), nil
	}
	metadata, err := w.metadata(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(metadata.ControllerID), nil
}

// reassign TOPIC PARTITION REPLICA,REPLICA...
func (w *worker) reassign(ctx context.Context, args []string) error {
	var replicas []int32
	for _, word := range strings.Split(args[2], ",") {
		replicas = append(replicas, number(word))
	}
	var request kadm.AlterPartitionAssignmentsReq
	request.Assign(args[0], number(args[1]), replicas)
	answer, err := w.admin.AlterPartitionAssignments(ctx, request)
	return errors.Join(err, answer.Error())
}

// moves is how many partitions are being reassigned.
func (w *worker) moves(ctx context.Context) (string, error) {
	answer, err := w.admin.ListPartitionReassignments(ctx, nil)
	count := 0
	for _, partitions := range answer {
		count += len(partitions)
	}
	return fmt.Sprint(count), err
}

// elect TOPIC PARTITION: the preferred leader.
func (w *worker) elect(ctx context.Context, args []string) error {
	var partitions kadm.TopicsSet
	partitions.Add(args[0], number(args[1]))
	answer, err := w.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, partitions)
	if err != nil {
		return err
	}
	for _, topic := range answer {
		for _, partition := range topic {
			if partition.Err != nil && !errors.Is(partition.Err, kerr.ElectionNotNeeded) {
				return partition.Err
			}
		}
	}
	return nil
}

func (w *worker) unregister(ctx context.Context, id int32) error {
	request := kmsg.NewPtrUnregisterBrokerRequest()
	request.BrokerID = id
	answer, err := request.RequestWith(ctx, w.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.ErrorCode)
}

func list(ids []int32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
}
