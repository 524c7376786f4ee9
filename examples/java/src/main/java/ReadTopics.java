import com.fasterxml.jackson.databind.ObjectMapper;
import dingtalk.BpmsInstanceChange;
import io.cloudevents.CloudEvent;
import io.cloudevents.core.CloudEventUtils;
import io.cloudevents.jackson.PojoCloudEventDataMapper;
import io.cloudevents.kafka.CloudEventDeserializer;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordDeserializationException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Reads topics of the bridge with kafka-clients and the CloudEvents SDK; arguments are EventTypes. */
public final class ReadTopics {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    private static final PojoCloudEventDataMapper<BpmsInstanceChange> APPROVAL =
        PojoCloudEventDataMapper.from(new ObjectMapper(), BpmsInstanceChange.class);

    public static void main(String[] arguments) {
        List<String> types = arguments.length > 0 ? List.of(arguments) : List.of("bpms_instance_change");
        List<String> topics = types.stream().map(type -> setting("TOPIC_PREFIX", "dingtalk.") + type).toList();
        Map<String, Object> config = Map.of(
            "bootstrap.servers", setting("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
            "group.id", setting("GROUP_ID", "example-java"), // one group for each system
            "auto.offset.reset", "earliest", // else the first start skips what is there
            "enable.auto.commit", "false", // commit what was done, not what was fetched
            "allow.auto.create.topics", "false", // the bridge makes its topics, with settings of its own
            "key.deserializer", StringDeserializer.class,
            "value.deserializer", CloudEventDeserializer.class);
        KafkaConsumer<String, CloudEvent> consumer = new KafkaConsumer<>(config);
        stopWithTheProcess(consumer);
        Set<List<String>> seen = new HashSet<>(); // yours is a table, written in the transaction of your own work
        try (consumer) {
            consumer.subscribe(topics);
            while (true) {
                try {
                    for (ConsumerRecord<String, CloudEvent> record : consumer.poll(Duration.ofSeconds(1))) {
                        CloudEvent event = record.value();
                        String line;
                        try {
                            line = describe(event);
                        } catch (RuntimeException unfit) { // `required` is what DingTalk documents, no promise
                            putAside(new TopicPartition(record.topic(), record.partition()), record.offset(), unfit);
                            continue;
                        }
                        boolean first = seen.add(List.of(event.getSource().toString(), event.getId()));
                        OUT.println(first ? line : "seen before: " + event.getId());
                    }
                } catch (RecordDeserializationException unfit) { // no CloudEvent: poll stays before it
                    putAside(unfit.topicPartition(), unfit.offset(), unfit);
                    consumer.seek(unfit.topicPartition(), unfit.offset() + 1);
                }
                consumer.commitSync();
            }
        } catch (WakeupException stopped) {
            // the process was asked to end
        }
    }

    /** Yours keeps the record where somebody looks at it. */
    private static void putAside(TopicPartition from, long offset, RuntimeException unfit) {
        System.err.println("not understood: " + from.topic() + "/" + from.partition() + "/" + offset + ": " + unfit);
    }

    private static String describe(CloudEvent event) {
        String head = event.getType() + " " + (event.getSubject() == null ? "-" : event.getSubject());
        if (!event.getType().equals("com.dingtalk.bpms_instance_change")) {
            return head;
        }
        BpmsInstanceChange approval = CloudEventUtils.mapData(event, APPROVAL).getValue();
        Long finished = approval.getFinishTime();
        String took = finished == null ? "-" : finished - approval.getCreateTime() + " ms";
        String result = approval.getResult() == null ? "-" : approval.getResult();
        return String.join(" ", Arrays.asList(head, approval.getType(), result, took, approval.getTitle()));
    }

    private static void stopWithTheProcess(KafkaConsumer<?, ?> consumer) {
        Thread reading = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                reading.join();
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }));
    }

    private static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }
}
