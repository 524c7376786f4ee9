// AsyncAPI's own parser reads documents, a JSON array on stdin; what it found in each and understood goes to stdout.
import { Parser } from "@asyncapi/parser";
import { json } from "node:stream/consumers";

const parser = new Parser();
const answers = [];
for (const source of await json(process.stdin)) {
  const { document, diagnostics } = await parser.parse(source);
  const messages = document?.allMessages().all() ?? [];
  answers.push({
    version: document?.version(),
    addresses: document?.allChannels().all().map((channel) => channel.address()) ?? [],
    payloads: Object.fromEntries(messages.map((message) => [message.name(), message.payload()?.title()])),
    faults: diagnostics.map(({ code, severity, message, path }) => ({ code, severity, message, path: path.join("/") })),
  });
}
process.stdout.write(JSON.stringify(answers));
