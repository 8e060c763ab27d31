// Uses a model's page like a person. usage: browser.mjs MODULES ADDRESS KEY
//
// Opens the page in Chromium (set $CHROMIUM if it is not where Debian installs it), enters the key, fills in a function's
// arguments, sends them and reads the response from the page.

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
  const { protocol, host } = new URL(request.url());
  if (protocol.startsWith("http") && host !== address) complaints.push(`asked ${request.url()}`);
});

/** The one function of this path, opened up and ready to be tried. */
async function open(path) {
  const block = page.locator(".opblock", { has: page.locator(`[data-path="${path}"]`) });
  await block.locator(".opblock-summary-control").click();
  await block.locator("button.try-out__btn").click();
  return block;
}

/** Sends what the fields have; the status and the body that the page then shows, until it is cleared. */
async function execute(block) {
  await block.locator("button.execute").click();
  const answer = block.locator(".live-responses-table .response");
  const status = (await answer.locator(".response-col_status").innerText()).trim();
  const body = (await answer.locator(".highlight-code code").first().innerText()).trim();
  await block.locator("button.btn-clear").click();
  return [status, body];
}

await page.goto(`http://${address}/acme/echo/docs`);
await page.locator(".opblock").first().waitFor();
same((await page.locator(".info .title").innerText()).startsWith("acme/echo"), true);

// Without a key, the host says how to authenticate, and the page shows that.
const number = await open("/acme/echo@1.0.0/echo-u8");
await number.locator("textarea").fill('{"v": 7}');
const [refused, why] = await execute(number);
same(refused, "401");
same(JSON.parse(why).status, 401);
// The browser logs the refusal itself.
same(complaints.splice(0).filter((complaint) => !complaint.includes("401")), []);

await page.locator(".auth-wrapper button.authorize").click();
await page.locator(".dialog-ux input").fill(key);
await page.locator(".dialog-ux button.authorize").click();
await page.locator(".dialog-ux button.btn-done").click();
same(await execute(number), ["200", "7"]);

// The document's example is a valid argument, so it is sent unchanged.
const record = await open("/acme/echo@1.0.0/echo-point");
const example = await record.locator("textarea").inputValue();
const [status, answer] = await execute(record);
same(status, "200");
same(JSON.parse(answer), JSON.parse(example).v);

// Swagger UI displays large numbers rounded, but sends and receives them exactly.
const wide = await open("/acme/echo@1.0.0/echo-u64");
await wide.locator("textarea").fill('{"v": 18446744073709551615}');
const whole = page.waitForResponse((response) => response.url().endsWith("/echo-u64"));
await execute(wide);
same(await (await whole).text(), "18446744073709551615");

same(complaints, []);
await browser.close();
console.log("ok");
