// Talks to the model whose page this is. The key stays in the page: nothing is stored.
"use strict";

const element = (id) => document.getElementById(id);
const root = new URL(document.documentElement.dataset.root, location.href);
const [publisher, model] = location.pathname.slice(root.pathname.length).split("/").filter(Boolean).map(decodeURIComponent);
const name = `${publisher}/${model}`;
document.title = `${name}: chat`;
element("model").textContent = name;

/** The conversation so far, as the host gets it. */
let turns = [];
/** Ends the answer that comes now. */
let running = null;

function show(kind, text) {
  const article = document.createElement("article");
  article.className = kind;
  article.textContent = text;
  element("turns").append(article);
  article.scrollIntoView({ block: "end" });
  return article;
}

/** The data of each event of a response. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      for (const line of part.split("\n")) {
        if (line.startsWith("data: ")) yield line.slice(6);
      }
    }
  }
}

function request() {
  const system = element("system").value.trim();
  const messages = system ? [{ role: "system", content: system }, ...turns] : turns;
  const body = { model: name, messages, stream: true, stream_options: { include_usage: true } };
  if (element("temperature").value) body.temperature = Number(element("temperature").value);
  if (element("most").value) body.max_completion_tokens = Number(element("most").value);
  return body;
}

/** Shows the answer as it comes, at most once a frame; returns its text. */
async function answer(response) {
  const article = show("assistant", "");
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const [thoughts, said] = [document.createElement("span"), document.createElement("span")];
  summary.textContent = "Reasoning";
  details.append(summary, thoughts);
  article.append(said);
  let [reasoning, text, frame] = ["", "", 0];
  const draw = () => {
    frame = 0;
    if (reasoning && !details.isConnected) article.prepend(details);
    thoughts.textContent = reasoning;
    said.textContent = text;
    article.scrollIntoView({ block: "end" });
  };
  try {
    for await (const data of events(response)) {
      if (data === "[DONE]") break;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      if (event.usage) {
        element("usage").textContent = `${event.usage.prompt_tokens} + ${event.usage.completion_tokens} tokens`;
      }
      const delta = event.choices[0]?.delta ?? {};
      reasoning += delta.reasoning_content ?? "";
      text += delta.content ?? "";
      frame ||= requestAnimationFrame(draw);
    }
  } finally {
    cancelAnimationFrame(frame);
    draw();
  }
  return text;
}

async function send() {
  const text = element("text").value;
  if (running || !text.trim()) return;
  element("text").value = "";
  turns.push({ role: "user", content: text });
  show("user", text);
  running = new AbortController();
  element("send").disabled = true;
  element("stop").disabled = false;
  try {
    const response = await fetch(new URL("v1/chat/completions", root), {
      method: "POST",
      headers: { authorization: `Bearer ${element("key").value.trim()}`, "content-type": "application/json" },
      body: JSON.stringify(request()),
      signal: running.signal,
      credentials: "omit",
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    turns.push({ role: "assistant", content: await answer(response) });
  } catch (error) {
    // What was not answered can be said again.
    turns.pop();
    if (error.name !== "AbortError") show("error", error.message);
  } finally {
    running = null;
    element("send").disabled = false;
    element("stop").disabled = true;
    element("text").focus();
  }
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
element("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
});
element("stop").addEventListener("click", () => running?.abort());
element("clear").addEventListener("click", () => {
  running?.abort();
  turns = [];
  element("turns").replaceChildren();
  element("usage").textContent = "";
});
