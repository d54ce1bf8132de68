// Signs in through somebody else's OpenID provider, with a real Chromium: there, here, and out again both ways.
//
//   VESTIBULE_PORTAL   origin of the portal        VESTIBULE_PAGE     a page of an application
//   VESTIBULE_ISSUER   the provider's issuer       VESTIBULE_PEER     `oidc-provider` or `keycloak`
//   VESTIBULE_USER     a user there, and VESTIBULE_PASSWORD the password
//   VESTIBULE_SHOTS    a folder for screenshots (optional)
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { chromium } = require("playwright-core");

const need = (name) => process.env[name] || assert.fail(`${name} is not set`);
const [portal, page, issuer, peer] = ["VESTIBULE_PORTAL", "VESTIBULE_PAGE", "VESTIBULE_ISSUER", "VESTIBULE_PEER"].map(need);
const [user, password] = ["VESTIBULE_USER", "VESTIBULE_PASSWORD"].map(need);
const shots = process.env.VESTIBULE_SHOTS;
const shot = (tab, name) => shots && tab.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
const there = (url) => url.origin === new URL(issuer).origin;

/** The provider's own pages. */
const pages = {
  "oidc-provider": {
    name: "input[name=login]",
    consent: (tab) => tab.getByRole("button", { name: "Continue" }).click(),
    // It asks also whoever we send.
    leave: (tab) => tab.getByRole("button", { name: "Yes, sign me out" }).click(),
    end: `${issuer}/session/end`,
  },
  keycloak: {
    name: "input[name=username]",
    consent: async () => {},
    leave: async () => {},
    end: `${issuer}/protocol/openid-connect/logout`,
    confirm: (tab) => tab.locator("#kc-logout").click(),
  },
}[peer];

const signInThere = async (tab) => {
  await tab.locator(pages.name).fill(user);
  await tab.locator("input[name=password]").fill(password);
  await tab.locator("button[type=submit], input[type=submit]").click();
  await pages.consent(tab);
};
/** Nobody is signed in, here or there. */
const asked = async (tab) => {
  await tab.goto(page);
  await tab.waitForURL(there);
  await tab.locator(pages.name).waitFor();
};
const inside = (tab) => tab.getByText(`x-vestibule-user: ${user}`).waitFor();

const steps = {
  "a login leads through the provider back to the page": async (tab) => {
    await asked(tab);
    await signInThere(tab);
    await inside(tab);
    assert.equal(tab.url(), page);
  },
  "signing out here leads on to sign out there, and back": async (tab) => {
    await tab.goto(`${portal}/logout`);
    await tab.getByRole("button", { name: "Sign out", exact: true }).click();
    await pages.leave(tab);
    await tab.waitForURL((url) => url.href.startsWith(`${portal}/logout`));
    await tab.getByRole("heading", { name: "You are signed out" }).waitFor();
    await shot(tab, `${peer}-out`);
    await asked(tab);
  },
  "signing out there ends the login here": async (tab) => {
    await signInThere(tab);
    await inside(tab);
    await tab.goto(pages.end);
    await (pages.confirm ?? pages.leave)(tab);
    await tab.waitForLoadState();
    await asked(tab);
  },
};

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
  const tab = await browser.newPage();
  let failed = false;
  for (const [name, run] of Object.entries(steps)) {
    try {
      await run(tab);
      console.log(`ok   ${name}`);
    } catch (error) {
      console.log(`FAIL ${name}: ${error}\n     at ${tab.url()}\n${(await tab.content().catch(() => "")).slice(0, 2000)}`);
      failed = true;
      break;
    }
  }
  await browser.close();
  process.exit(failed ? 1 : 0);
})();
