// Signs in at Keycloak with our account, and out again, with a real Chromium.
//
//   VESTIBULE_PORTAL   origin of our portal      VESTIBULE_REALM   address of the realm, in which we are called `vestibule`
//   VESTIBULE_USER, VESTIBULE_PASSWORD   somebody we know
"use strict";
const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

const need = (name) => process.env[name] || assert.fail(`${name} is not set`);
const [portal, realm, user, password] = ["PORTAL", "REALM", "USER", "PASSWORD"].map((name) => need(`VESTIBULE_${name}`));

const steps = {
  "an account there is opened by a login here": async (tab) => {
    await tab.goto(`${realm}/account`);
    await tab.locator("#social-vestibule").click();
    await tab.getByLabel("User name").fill(user);
    assert.equal(new URL(tab.url()).origin, portal);
    await tab.getByLabel("Password", { exact: true }).fill(password);
    await tab.getByRole("button", { name: "Sign in" }).click();
    // Keycloak asks newcomers for what it does not know of them.
    await tab.locator("#email").fill("ada@example.org");
    await tab.locator("#firstName").fill("Ada");
    await tab.locator("#lastName").fill("Lovelace");
    await tab.locator("input[type=submit]").click();
    await tab.waitForURL((url) => url.href.startsWith(`${realm}/account`));
    await tab.goto(`${portal}/`);
    await tab.getByText(user, { exact: true }).first().waitFor();
  },
  "a logout there ends the login here": async (tab) => {
    await tab.goto(`${realm}/protocol/openid-connect/logout`);
    await tab.locator("#kc-logout").click();
    await tab.waitForLoadState("networkidle");
    await tab.goto(`${portal}/`);
    assert.equal(new URL(tab.url()).pathname, "/login");
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
      console.log(`FAIL ${name}: ${error}\n     at ${tab.url()}\n${(await tab.content()).slice(0, 3000)}`);
    }
  }
  await browser.close();
  process.exit(failed ? 1 : 0);
})();
