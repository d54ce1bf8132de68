// Signs in at somebody else's service provider through our portal, with a real Chromium: there, here, and out again both ways.
//
//   VESTIBULE_PORTAL   origin of the portal        VESTIBULE_PAGE     a page that the service provider protects
//   VESTIBULE_USER     a user, and VESTIBULE_PASSWORD the password
//   VESTIBULE_LOGOUT   where the service provider's own logout begins
//   VESTIBULE_SHOTS    a folder for screenshots (optional)
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { chromium } = require("playwright-core");

const need = (name) => process.env[name] || assert.fail(`${name} is not set`);
const [portal, page, logout] = ["VESTIBULE_PORTAL", "VESTIBULE_PAGE", "VESTIBULE_LOGOUT"].map(need);
const [user, password] = ["VESTIBULE_USER", "VESTIBULE_PASSWORD"].map(need);
const shots = process.env.VESTIBULE_SHOTS;

const signIn = async (tab) => {
  await tab.getByLabel("User name").fill(user);
  await tab.getByLabel("Password", { exact: true }).fill(password);
  await tab.getByRole("button", { name: "Sign in" }).click();
};
const inside = (tab) => tab.getByText("inside the peer").waitFor();
const shot = (tab, name) => shots && tab.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });

const steps = {
  "a login begins at the service provider and leads back to its page": async (tab) => {
    await tab.goto(page);
    await tab.getByText("to continue to").waitFor();
    await tab.getByText("The peer", { exact: true }).waitFor();
    await shot(tab, "peer-login");
    await signIn(tab);
    await inside(tab);
    assert.equal(tab.url(), page);
  },
  "its logout ends the login here, too": async (tab) => {
    await tab.goto(logout);
    await tab.goto(`${portal}/`);
    assert.equal(new URL(tab.url()).pathname, "/login");
    await tab.goto(page);
    await tab.getByLabel("User name").waitFor();
  },
  "a login begins at the portal": async (tab) => {
    await tab.goto(`${portal}/`);
    await signIn(tab);
    await shot(tab, "peer-home");
    await tab.getByRole("link", { name: "The peer" }).click();
    await tab.waitForURL((url) => url.origin === new URL(page).origin);
    await tab.goto(page);
    await inside(tab);
  },
  "the portal's logout ends the session there, and says so": async (tab) => {
    await tab.goto(`${portal}/logout`);
    await tab.getByRole("button", { name: "Sign out", exact: true }).click();
    await tab.getByRole("heading", { name: "You are signed out", exact: true }).waitFor();
    await tab.getByText("Signed out", { exact: true }).waitFor();
    await shot(tab, "peer-out");
    // Another address: a browser may keep a page that says nothing of how long it holds.
    await tab.goto(`${page}?again`);
    await tab.getByLabel("User name").waitFor();
  },
};

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
  let failed = 0;
  const attempt = async (name, tab, run) => {
    try {
      await run(tab);
      console.log(`ok   ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}: ${error}\n     at ${tab.url()}\n${(await tab.content()).slice(0, 2000)}`);
    }
  };
  const tab = await (await browser.newContext()).newPage();
  for (const [name, run] of Object.entries(steps)) await attempt(name, tab, run);
  const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
  await attempt("without JavaScript a button does it", plain, async (tab) => {
    await tab.goto(page);
    // A service provider may post its request; then it has a button of its own.
    await signIn(tab);
    await tab.getByRole("heading", { name: "Going to The peer" }).waitFor();
    await shot(tab, "peer-going");
    await tab.getByRole("button", { name: "Continue" }).click();
    await inside(tab);
  });
  await browser.close();
  process.exit(failed ? 1 : 0);
})();
