// What the demo shows of SAML, with a real Chromium: the users of one tenant sign in at another, both ways round and out again.
//
//   VESTIBULE_PORT   where the demo listens        VESTIBULE_USER, VESTIBULE_PASSWORD   somebody in the north
//   VESTIBULE_SHOTS  a folder for screenshots (optional)
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { chromium } = require("playwright-core");

const need = (name) => process.env[name] || assert.fail(`${name} is not set`);
const [port, user, password] = ["VESTIBULE_PORT", "VESTIBULE_USER", "VESTIBULE_PASSWORD"].map(need);
const [application, portal, north] = ["app.east", "login.east", "login.north"].map((host) => `http://${host}.localhost:${port}`);
const shots = process.env.VESTIBULE_SHOTS;

const signIn = async (tab) => {
  await tab.getByLabel("User name").fill(user);
  await tab.getByLabel("Password", { exact: true }).fill(password);
  await tab.getByRole("button", { name: "Sign in" }).click();
};
const inside = (tab) => tab.getByText("This application asked for no password").waitFor();
const shot = (tab, name) => shots && tab.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
const isAtLogin = async (tab, page) => {
  await tab.goto(page);
  await tab.getByLabel("User name").waitFor();
};

const steps = {
  "a page of the east is shown after a login at the north": async (tab) => {
    await tab.goto(`${application}/?from=tab`);
    await tab.getByText("to continue to").waitFor();
    assert.equal(new URL(tab.url()).origin, north);
    await shot(tab, "demo-north");
    await signIn(tab);
    await inside(tab);
    assert.equal(tab.url(), `${application}/?from=tab`);
    await tab.getByText(user, { exact: true }).first().waitFor();
  },
  "signing out there signs out at both": async (tab) => {
    await tab.getByRole("link", { name: "Sign out" }).click();
    await tab.getByRole("button", { name: "Sign out", exact: true }).click();
    await tab.getByRole("heading", { name: "You are signed out", exact: true }).waitFor();
    await tab.getByText("North Ltd", { exact: true }).first().waitFor();
    assert.equal(new URL(tab.url()).origin, portal);
    await shot(tab, "demo-out");
    await isAtLogin(tab, `${application}/`);
    await isAtLogin(tab, `${north}/`);
  },
  "a login that begins at the north leads to the east": async (tab) => {
    await tab.goto(`${north}/`);
    await signIn(tab);
    await tab.getByRole("link", { name: "East & Co" }).click();
    await inside(tab);
    assert.equal(tab.url(), `${application}/`);
  },
  "signing out at the north signs out in the east": async (tab) => {
    await tab.goto(`${north}/logout`);
    await tab.getByRole("button", { name: "Sign out", exact: true }).click();
    await tab.getByRole("heading", { name: "You are signed out", exact: true }).waitFor();
    await tab.getByText("East & Co", { exact: true }).first().waitFor();
    assert.equal(new URL(tab.url()).origin, north);
    await isAtLogin(tab, `${application}/`);
  },
  "a page of the old company is shown after a login at the north, by SAML 1.1": async (tab) => {
    const page = `http://app.old.localhost:${port}/?from=tab`;
    const brought = tab.waitForRequest((request) => request.url().includes("/fed/sp/samlv11sso?"));
    await tab.goto(page);
    assert.equal(new URL(tab.url()).origin, north);
    await signIn(tab);
    await inside(tab);
    assert.ok(new URL((await brought).url()).searchParams.get("SAMLart"));
    assert.equal(tab.url(), page);
  },
};

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
  let failed = 0;
  const tab = await (await browser.newContext()).newPage();
  for (const [name, run] of Object.entries(steps)) {
    try {
      await run(tab);
      console.log(`ok   ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}: ${error}\n     at ${tab.url()}\n${(await tab.content()).slice(0, 2000)}`);
    }
  }
  await browser.close();
  process.exit(failed ? 1 : 0);
})();
