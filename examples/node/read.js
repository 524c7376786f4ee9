// @ts-check
// Reads topics of the bridge with kafkajs and the CloudEvents SDK: node read.js [EventType …]
import { Kafka as Binding } from "cloudevents";
import { Kafka } from "kafkajs";

/** @typedef {import("./models/bpms_instance_change.d.ts").BpmsInstanceChange} BpmsInstanceChange */

const { KAFKA_BOOTSTRAP_SERVERS = "localhost:9092", TOPIC_PREFIX = "dingtalk.", GROUP_ID = "example-node" } = process.env;
const types = process.argv.length > 2 ? process.argv.slice(2) : ["bpms_instance_change"];

/** @param {import("kafkajs").KafkaMessage} message */
function eventOf({ headers = {}, key, value }) {
  // The SDK wants texts where kafkajs has Buffers; and it fails on a record without `time`, which ours all have.
  const texts = Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, `${text}`]));
  const message = { headers: texts, key: `${key}`, value: `${value}`, body: undefined };
  return /** @type {import("cloudevents").CloudEvent<unknown>} */ (Binding.toEvent(message));
}

/** @param {import("cloudevents").CloudEvent<unknown>} event */
function describe(event) {
  const head = `${event.type} ${event.subject ?? "-"}`;
  if (event.type !== "com.dingtalk.bpms_instance_change") return head;
  const approval = /** @type {BpmsInstanceChange} */ (event.data);
  const took = approval.finishTime === undefined ? "-" : `${approval.finishTime - approval.createTime} ms`;
  return `${head} ${approval.type} ${approval.result ?? "-"} ${took} ${approval.title}`;
}

const kafka = new Kafka({ clientId: GROUP_ID, brokers: KAFKA_BOOTSTRAP_SERVERS.split(",") });
const consumer = kafka.consumer({ groupId: GROUP_ID, allowAutoTopicCreation: false }); // the bridge makes its topics
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => consumer.disconnect());

const seen = new Set(); // yours is a table with a unique key, written in the transaction of your own work
await consumer.connect();
await consumer.subscribe({ topics: types.map((type) => TOPIC_PREFIX + type), fromBeginning: true });
await consumer.run({
  eachMessage: async ({ topic, partition, message }) => { // its offset is committed when this has returned
    let event, line;
    try {
      event = eventOf(message);
      line = describe(event);
    } catch (unfit) { // `required` is what DingTalk documents, no promise: put it aside
      return console.error(`not understood: ${topic}/${partition}/${message.offset}: ${unfit}`);
    }
    const identity = `${event.source} ${event.id}`;
    if (seen.has(identity)) return console.log(`seen before: ${event.id}`);
    seen.add(identity);
    console.log(line);
  },
});
