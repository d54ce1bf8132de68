// Sends a form after the session ran out, signs in, and sends it again from the page that kept it: with a real Chromium, with
// scripts and without.
//
//   VESTIBULE_PAGE      a page of an application with a form, one field `Text` and the button `Order`
//   VESTIBULE_USER, VESTIBULE_PASSWORD
//   VESTIBULE_IDLE      seconds after which an unused session is over
//   CHROMIUM            the browser's program, /usr/bin/chromium by default
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const { chromium } = require("playwright-core");

const need = (name) => process.env[name] || assert.fail(`${name} is not set`);
const url = need("VESTIBULE_PAGE");
const TEXT = "two of \u00e4 & <b>";

const signIn = async (page) => {
  await page.getByLabel("User name").fill(need("VESTIBULE_USER"));
  await page.getByLabel("Password", { exact: true }).fill(need("VESTIBULE_PASSWORD"));
  await page.getByRole("button", { name: "Sign in" }).click();
};

const wellMade = async (page) => {
  let axe;
  try { axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"); } catch { return; }
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`), []);
};

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
  for (const javaScriptEnabled of [true, false]) {
    const context = await browser.newContext({ javaScriptEnabled });
    context.setDefaultTimeout(30_000);
    const page = await context.newPage();
    await page.goto(url);
    await signIn(page);
    await page.waitForURL(url);
    await page.getByLabel("Text").fill(TEXT);
    await page.waitForTimeout((Number(need("VESTIBULE_IDLE")) + 1) * 1000);
    await page.getByRole("button", { name: "Order" }).click();
    await page.waitForURL(/\/login\?/);
    await signIn(page);
    await page.waitForURL(/\/\.vestibule\/kept\?form=/);
    await page.getByRole("cell", { name: TEXT, exact: true }).waitFor();
    if (javaScriptEnabled) await wellMade(page);
    await page.getByRole("button", { name: "Send it now" }).click();
    await page.waitForURL(new URL("/orders", url).href);
    await page.getByRole("button", { name: "Order" }).waitFor();
    // Back, and once more: it went once.
    await page.goBack();
    await page.getByText("Nothing is kept here for you").or(page.getByRole("button", { name: "Send it now" })).first().waitFor();
    const again = page.getByRole("button", { name: "Send it now" });
    if (await again.count()) await again.click();
    await page.getByText("Nothing is kept here for you").waitFor();
    await context.close();
    console.log(`ok   ${javaScriptEnabled ? "with" : "without"} scripts`);
  }
  await browser.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
