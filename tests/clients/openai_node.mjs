// The openai package for JavaScript. usage: node openai_node.mjs CLIENTS HOST:PORT KEY
import { deepStrictEqual as same, rejects } from "node:assert";
import { createRequire } from "node:module";

const [clients, address, apiKey] = process.argv.slice(2);
const { OpenAI } = createRequire(`${clients}/`)("openai");
const client = new OpenAI({ baseURL: `http://${address}/v1`, apiKey, maxRetries: 0 });
const model = "acme/parrot-next";
const turn = (script) => [{ role: "user", content: typeof script === "string" ? script : JSON.stringify(script) }];
const calling = { say: [{ text: "So" }, { call: ["c1", "f"] }, { arguments: '{"a":' }, { arguments: "1}" }] };
const f = { name: "f", parameters: { type: "object", properties: { a: { type: "integer" } } } };

const whole = await client.chat.completions.create({ model, messages: turn("a b"), n: 2, logprobs: true });
same(whole.choices.map((choice) => choice.message.content), ["a b", "a b #1"]);
same(whole.choices[0].logprobs.content.map((token) => token.token), ["a", " b"]);

const tools = [{ type: "function", function: f }];
const stream = client.chat.completions.stream({ model, messages: turn(calling), tools, stream_options: { include_usage: true } });
const final = await stream.finalChatCompletion();
const called = final.choices[0].message.tool_calls[0];
same([called.id, called.function.name, called.function.arguments], ["c1", "f", '{"a":1}']);
same(final.usage.total_tokens, final.usage.prompt_tokens + final.usage.completion_tokens);

const response = await client.responses.create({ model, input: "a b", store: true });
same([response.output_text, response.store], ["a b", false]);
const events = [];
const input = JSON.stringify(calling);
for await (const event of await client.responses.create({ model, input, tools: [{ type: "function", ...f }], stream: true })) {
  events.push(event);
}
same(events.map((event) => event.sequence_number), [...events.keys()]);
same(events.at(-1).response.output[1].arguments, '{"a":1}');
same((await client.responses.inputTokens.count({ model, input: "a b c" })).input_tokens, 3);

const long = JSON.stringify({ code: "context_length_exceeded", message: "too long", param: "messages" });
await rejects(client.chat.completions.create({ model, messages: turn({ refuse: long }), stream: true }), {
  status: 400,
  code: "context_length_exceeded",
});
const controller = new AbortController();
const endless = await client.chat.completions.create(
  { model, messages: turn({ say: [{ forever: true }] }), stream: true },
  { signal: controller.signal },
);
let pieces = 0;
for await (const _ of endless) if (++pieces === 3) controller.abort();
console.log("ok");
