// Reads topics of the bridge with franz-go and the CloudEvents SDK; arguments are EventTypes.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/twmb/franz-go/pkg/kgo"

	"example.com/read-topics/models"
)

//go:generate mkdir -p models
//go:generate go tool go-jsonschema --package models --only-models --min-sized-ints --tags json --struct-name-from-title --output models/bpms_instance_change.go ../../schemas/json/bpms_instance_change.json

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	types := os.Args[1:]
	if len(types) == 0 {
		types = []string{"bpms_instance_change"}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(setting("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"), ",")...),
		kgo.ConsumerGroup(setting("GROUP_ID", "example-go")), // one group for each system
		kgo.ConsumeTopics(topics(types)...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // else the first start skips what is there
		kgo.DisableAutoCommit(),                           // commit what was done, not what was fetched
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	seen := map[[2]string]bool{} // yours is a table, written in the transaction of your own work
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		fetches.EachError(func(topic string, _ int32, err error) { log.Print(topic, ": ", err) })
		fetches.EachRecord(func(record *kgo.Record) {
			var event event.Event
			var line string
			err := json.Unmarshal(record.Value, &event)
			if err == nil {
				line, err = describe(event)
			}
			if err != nil { // `required` is what DingTalk documents, no promise: put it aside
				log.Printf("not understood: %s/%d/%d: %v", record.Topic, record.Partition, record.Offset, err)
				return
			}
			identity := [2]string{event.Source(), event.ID()}
			if seen[identity] {
				fmt.Println("seen before:", event.ID())
				return
			}
			seen[identity] = true
			fmt.Println(line)
		})
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			log.Print(err)
		}
	}
}

func describe(event event.Event) (string, error) {
	head := event.Type() + " " + orDash(event.Subject())
	if event.Type() != "com.dingtalk.bpms_instance_change" {
		return head, nil
	}
	var approval models.BpmsInstanceChange
	if err := event.DataAs(&approval); err != nil {
		return "", err
	}
	took, result := "-", "-"
	if approval.FinishTime != nil {
		took = fmt.Sprintf("%d ms", int64(*approval.FinishTime)-int64(approval.CreateTime))
	}
	if approval.Result != nil {
		result = *approval.Result
	}
	return strings.Join([]string{head, approval.Type, result, took, approval.Title}, " "), nil
}

func topics(types []string) []string {
	names := make([]string, len(types))
	for i, name := range types {
		names[i] = setting("TOPIC_PREFIX", "dingtalk.") + name
	}
	return names
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
