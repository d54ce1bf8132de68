// Signs in here through somebody else's identity provider, with a real Chromium: begun here, begun there, and out again both ways.
//
//   VESTIBULE_PORTAL   origin of our portal              VESTIBULE_PAGE    a protected page of an application
//   VESTIBULE_IDP      origin of the identity provider   VESTIBULE_START   where a login begins there (optional)
//   VESTIBULE_END      where a logout begins there (optional)
//   VESTIBULE_USER, VESTIBULE_PASSWORD   somebody it knows
//   VESTIBULE_FIELDS   selectors of its form's name, password and button, separated by a comma
//   VESTIBULE_SHOTS    a folder for screenshots (optional)
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { chromium } = require("playwright-core");

const need = (name) => process.env[name] || assert.fail(`${name} is not set`);
const [portal, page, idp, user, password] = ["PORTAL", "PAGE", "IDP", "USER", "PASSWORD"].map((name) => need(`VESTIBULE_${name}`));
const [nameField, passwordField, button] = need("VESTIBULE_FIELDS").split(",");
const { VESTIBULE_START: start, VESTIBULE_END: end, VESTIBULE_SHOTS: shots } = process.env;

const signIn = async (tab) => {
  await tab.locator(passwordField).waitFor();
  assert.equal(new URL(tab.url()).origin, idp);
  await tab.locator(nameField).fill(user);
  await tab.locator(passwordField).fill(password);
  await tab.locator(button).first().click();
};
const inside = async (tab) => {
  await tab.waitForURL((url) => url.origin === new URL(page).origin);
  await tab.getByText("x-vestibule-user").first().waitFor();
};
const asksThere = async (tab, url) => {
  await tab.goto(url);
  await tab.locator(passwordField).waitFor();
  assert.equal(new URL(tab.url()).origin, idp);
};
const shot = (tab, name) => shots && tab.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });

const steps = [];
steps.push(["a page is shown after a login there", async (tab) => {
  await tab.goto(page);
  await signIn(tab);
  await inside(tab);
  assert.equal(tab.url(), page);
}]);
steps.push(["signing out here signs out there", async (tab) => {
  await tab.goto(`${portal}/logout`);
  await tab.getByRole("button", { name: "Sign out", exact: true }).click();
  await tab.getByRole("heading", { name: "You are signed out", exact: true }).waitFor();
  await tab.getByText("Signed out", { exact: true }).waitFor();
  await shot(tab, "idp-out");
  await asksThere(tab, page);
}]);
if (start) steps.push(["a login that begins there leads here", async (tab) => {
  await tab.goto(start);
  await signIn(tab);
  await tab.waitForURL((url) => url.origin === portal || url.origin === new URL(page).origin);
  await tab.goto(page);
  await inside(tab);
}]);
if (end) steps.push(["signing out there signs out here", async (tab) => {
  await tab.goto(page);
  if (new URL(tab.url()).origin === idp) await signIn(tab);
  await inside(tab);
  await tab.goto(end);
  // Some ask first.
  const sure = tab.locator("#kc-logout");
  if (await sure.count()) await sure.click();
  await tab.waitForLoadState("networkidle");
  await tab.goto(`${portal}/`);
  assert.notEqual(tab.url(), `${portal}/`);
}]);

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
  let failed = 0;
  const tab = await (await browser.newContext()).newPage();
  for (const [name, run] of steps) {
    try {
      await run(tab);
      console.log(`ok   ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}: ${error}\n     at ${tab.url()}\n${(await tab.content()).slice(0, 3000)}`);
    }
  }
  await browser.close();
  process.exit(failed ? 1 : 0);
})();
