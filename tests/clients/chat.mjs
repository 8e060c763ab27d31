// Talks to a model on its page like a person. usage: chat.mjs MODULES ADDRESS KEY

import { deepStrictEqual as same } from "node:assert";
import { createRequire } from "node:module";

const [modules, address, key] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)("playwright-core");

// Chromium's sandbox does not work as root; only this host's pages are opened.
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
page.setDefaultTimeout(20_000);
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("request", (request) => {
  if (new URL(request.url()).host !== address) complaints.push(`asked ${request.url()}`);
});

async function say(text) {
  await page.locator("#text").fill(text);
  await page.locator("#text").press("Enter");
  await page.locator("#send:enabled").waitFor();
}
const turns = (kind) => page.locator(`article.${kind}`).allInnerTexts();

await page.goto(`http://${address}/acme/parrot-next/docs/chat`);
same(await page.locator("#model").innerText(), "acme/parrot-next");

// Without a key, the page shows what the host says.
await say("hello");
same((await turns("error")).length, 1);
// The browser logs the refusal itself.
same(complaints.splice(0).filter((complaint) => !complaint.includes("401")), []);

await page.locator("#key").fill(key);
await page.locator("#clear").click();
await say("one <b>two</b>");
same(await turns("user"), ["one <b>two</b>"]);
// What a model says is text, never markup.
same(await turns("assistant"), ["one <b>two</b>"]);
same(await page.locator("#usage").innerText(), "2 + 2 tokens");

await say(JSON.stringify({ say: [{ reason: "Hm." }, { text: "So." }] }));
same(await page.locator("article.assistant details").count(), 1);
same((await turns("assistant")).at(-1).endsWith("So."), true);

// An endless answer can be stopped.
await page.locator("#text").fill(JSON.stringify({ say: [{ forever: true }] }));
await page.locator("#text").press("Enter");
await page.locator("article.assistant", { hasText: "again again" }).waitFor();
await page.locator("#stop").click();
await page.locator("#send:enabled").waitFor();

same(complaints, []);
await browser.close();
console.log("ok");
