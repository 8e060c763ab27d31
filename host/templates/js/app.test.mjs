import assert from "node:assert";
import { test } from "node:test";

import { greet } from "./app.mjs";

test("greets by name", () => {
  assert.equal(greet("Zoe"), "Hello, Zoe!");
});
