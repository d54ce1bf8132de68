// Signs in to a running Vestibule with a real Chromium: what a person does, step by step.
//
//   VESTIBULE_PORTAL    origin of the portal, e.g. http://login.north.localhost:8080
//   VESTIBULE_PAGE      a protected page of one application host
//   VESTIBULE_OTHER     a protected page of another application host of the same tenant
//   VESTIBULE_USER      a user, and
//   VESTIBULE_PASSWORD  the password
//   VESTIBULE_FRESH_USER, VESTIBULE_FRESH_PASSWORD   a user who must change the password (optional)
//   VESTIBULE_IDLE      seconds after which an unused session is over, if that can be waited for (optional)
//   VESTIBULE_SHOTS     a folder for screenshots (optional)
//   CHROMIUM            the browser's program, /usr/bin/chromium by default
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { chromium } = require("playwright-core");

const need = (name) => process.env[name] || assert.fail(`${name} is not set`);
const portal = need("VESTIBULE_PORTAL");
const page1 = need("VESTIBULE_PAGE");
const page2 = need("VESTIBULE_OTHER");
const user = need("VESTIBULE_USER");
const password = need("VESTIBULE_PASSWORD");
const NUMBER = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const steps = [];
const step = (name, run, options = {}) => steps.push({ name, run, options });

/** Fills in the sign-in form, whoever's it is, and sends it. */
const signIn = async (page, name = user, secret = password) => {
  await page.getByLabel("User name").fill(name);
  await page.getByLabel("Password", { exact: true }).fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
};

/** The application's page, not one of ours. */
const arrived = async (page, url) => {
  await page.waitForURL(url);
  assert.equal(await page.getByLabel("Password", { exact: true }).count(), 0, "still at the sign-in page");
};

/** `autofocus` takes effect when the page is next drawn, which on a busy machine is after it has loaded. */
const focused = async (page, label) => {
  const field = await page.getByLabel(label, { exact: true }).elementHandle();
  await page.waitForFunction((input) => input === document.activeElement, field);
};

const cookie = async (context, url) => {
  const all = await context.cookies(url);
  return all.find(({ name }) => name === "vestibule" || name === "__Host-vestibule");
};

step("login leads to the portal's own page", async ({ page, context, shot }) => {
  await page.goto(`${portal}/`);
  assert.equal(new URL(page.url()).pathname, "/login");
  await shot("login");
  await signIn(page);
  await page.waitForURL(`${portal}/`);
  await page.getByText(user, { exact: true }).first().waitFor();
  const held = await cookie(context, portal);
  assert.equal(held.httpOnly, true);
  assert.equal(held.sameSite, "Lax");
  await shot("home");
});

step("a wrong password says so once, keeps the name and gives a number", async ({ page, context, shot }) => {
  await page.goto(`${portal}/login`);
  await signIn(page, user, "certainly not this");
  await page.getByText("That user name and password do not match.").waitFor();
  assert.equal(await page.getByLabel("User name").inputValue(), user);
  assert.equal(await page.getByLabel("Password", { exact: true }).inputValue(), "");
  assert.match(await page.locator("#number").innerText(), NUMBER);
  await focused(page, "Password");
  assert.equal(await cookie(context, portal), undefined);
  await shot("wrong-password");
  const wrong = await page.locator("[role=alert]").innerText();
  await signIn(page, "nobody-of-this-name", "certainly not this");
  await page.getByText("That user name and password do not match.").waitFor();
  const unknown = await page.locator("[role=alert]").innerText();
  const without = (text) => text.split("\n").filter((line) => !NUMBER.test(line.trim())).join("\n");
  assert.equal(without(unknown), without(wrong), "unknown users look different");
  await signIn(page);
  await page.waitForURL(`${portal}/`);
});

step("after login the browser is back at the page it asked for", async ({ page, shot }) => {
  const asked = `${page1}?a=1&b=%2Fx`;
  await page.goto(asked);
  assert.equal(new URL(page.url()).origin, portal);
  await page.getByText(new URL(page1).host).first().waitFor();
  await shot("login-for-application");
  await signIn(page);
  await arrived(page, asked);
  await shot("application");
});

step("two application hosts share one login", async ({ page, context }) => {
  await page.goto(page1);
  await signIn(page);
  await arrived(page, page1);
  await page.goto(page2);
  await arrived(page, page2);
  const [one, two] = [await cookie(context, page1), await cookie(context, page2)];
  assert.notEqual(one.value, two.value, "each host has a session of its own");
});

step("an expired session leads back to the same page through the login", async ({ page, context }) => {
  await page.goto(page1);
  await signIn(page);
  await arrived(page, page1);
  if (process.env.VESTIBULE_IDLE) {
    await page.waitForTimeout((Number(process.env.VESTIBULE_IDLE) + 1) * 1000);
  } else {
    for (const url of [page1, portal]) {
      const held = await cookie(context, url);
      await context.addCookies([{ ...held, value: "A".repeat(43) }]);
    }
  }
  await page.goto(page1);
  assert.equal(new URL(page.url()).pathname, "/login");
  assert.equal(await cookie(context, portal), undefined, "the dead session's cookie is still there");
  await signIn(page);
  await arrived(page, page1);
});

step("logout ends the session in all applications", async ({ page, context, shot }) => {
  await page.goto(page1);
  await signIn(page);
  await arrived(page, page1);
  await page.goto(page2);
  await arrived(page, page2);
  await page.goto(new URL("/.vestibule/logout", page1).href);
  await shot("logout");
  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.getByText("You are signed out").waitFor();
  await shot("signed-out");
  await page.goto(page2);
  assert.equal(new URL(page.url()).pathname, "/login");
  await page.goto(`${portal}/`);
  assert.equal(new URL(page.url()).pathname, "/login");
});

step("the back button after logout shows nothing that is over", async ({ page }) => {
  await page.goto(`${portal}/login`);
  await signIn(page);
  await page.waitForURL(`${portal}/`);
  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.getByText("You are signed out").waitFor();
  await page.goBack();
  await page.waitForURL(/\/login/);
});

step("signing in needs nothing but the keyboard", async ({ page }) => {
  await page.goto(page1);
  await focused(page, "User name");
  await page.keyboard.type(user);
  await page.keyboard.press("Tab");
  await page.keyboard.type(password);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Show password");
  await page.keyboard.press("Space");
  assert.equal(await page.getByLabel("Password", { exact: true }).getAttribute("type"), "text");
  await page.keyboard.press("Tab");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid", "focus is not visible");
  await page.keyboard.press("Enter");
  await arrived(page, page1);
});

step(
  "everything works without JavaScript",
  async ({ page, shot }) => {
    await page.goto(page1);
    assert.equal(await page.locator("[data-show]").isVisible(), false);
    await signIn(page, user, "certainly not this");
    await page.getByText("That user name and password do not match.").waitFor();
    await signIn(page);
    await arrived(page, page1);
    await page.goto(`${portal}/`);
    await shot("home-without-javascript");
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.getByText("You are signed out").waitFor();
  },
  { javaScriptEnabled: false },
);

step("two tabs may sign in, one after the other", async ({ page, context }) => {
  const second = await context.newPage();
  await page.goto(page1);
  await second.goto(page2);
  await signIn(second);
  await arrived(second, page2);
  await signIn(page);
  await arrived(page, page1);
});

step("a form that another site sends is refused", async ({ page, context }) => {
  const html = `<form method=post action="${portal}/login"><input name=username value="${user}"><input name=password value="x"><button>go</button></form>`;
  await page.route("http://foreign.localhost/", (route) => route.fulfill({ contentType: "text/html", body: html }));
  await page.goto("http://foreign.localhost/");
  await page.getByRole("button").click();
  await page.waitForURL(`${portal}/login`);
  await page.getByRole("alert").waitFor();
  assert.equal(await cookie(context, portal), undefined);
});

step("a sign-in cannot be planted from another browser", async ({ page, browser }) => {
  // The attacker signs in and stops before the landing; the victim follows that link.
  const attacker = await browser.newContext();
  const theirs = await attacker.newPage();
  await theirs.goto(page1);
  let landing;
  const cdp = await attacker.newCDPSession(theirs);
  await cdp.send("Fetch.enable", { patterns: [{ urlPattern: "*/.vestibule/landing?*code=*" }] });
  cdp.on("Fetch.requestPaused", ({ requestId, request }) => {
    landing = request.url;
    cdp.send("Fetch.failRequest", { requestId, errorReason: "Aborted" }).catch(() => {});
  });
  await signIn(theirs);
  for (let i = 0; i < 50 && !landing; i += 1) await theirs.waitForTimeout(100);
  assert.equal(await cookie(attacker, page1), undefined, "the code was spent already");
  await attacker.close();
  assert.ok(landing, "no landing was seen");
  await page.goto(landing);
  assert.equal(new URL(page.url()).pathname, "/login", "the victim is signed in as the attacker");
});

step("popup closes itself, touch is large", async ({ page, context, shot }) => {
  await page.goto(`${portal}/login?display=touch`);
  const { height } = await page.getByRole("button", { name: "Sign in" }).boundingBox();
  assert.ok(height >= 48, `${height} px`);
  await shot("touch");
  const opening = context.waitForEvent("page");
  await page.evaluate((url) => { window.open(url, "login", "width=400,height=480"); }, `${portal}/login?display=popup`);
  const popup = await opening;
  await popup.waitForLoadState();
  const closed = popup.waitForEvent("close");
  await signIn(popup);
  await closed;
});

step("on a phone nothing is wider than the screen", async ({ page, shot }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  for (const [name, url] of [["phone-login", `${portal}/login`], ["phone-missing", `${portal}/nothing-here`]]) {
    await page.goto(url);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, url);
    await shot(name);
  }
  await page.goto(`${portal}/login`);
  await signIn(page);
  await page.waitForURL(`${portal}/`);
  await shot("phone-home");
});

if (process.env.VESTIBULE_FRESH_USER) {
  step("a password that must be changed is changed on the way", async ({ page, context, shot }) => {
    const name = process.env.VESTIBULE_FRESH_USER;
    const old = process.env.VESTIBULE_FRESH_PASSWORD;
    const fresh = "four unrelated words here";
    await page.goto(page1);
    await signIn(page, name, old);
    await page.getByText("Change your password").waitFor();
    await shot("change-password");
    const before = (await cookie(context, portal)).value;
    const change = async (values) => {
      for (const [label, value] of Object.entries(values)) await page.getByLabel(label, { exact: true }).fill(value);
      await page.getByRole("button", { name: "Change password" }).click();
    };
    await change({ "Current password": old, "New password": fresh, "New password again": `${fresh}!` });
    await page.getByText("The two new passwords differ.").waitFor();
    await change({ "Current password": "certainly not this", "New password": fresh, "New password again": fresh });
    await page.getByText("The current password is not right.").waitFor();
    await change({ "Current password": old, "New password": fresh, "New password again": fresh });
    await arrived(page, page1);
    assert.notEqual((await cookie(context, portal)).value, before, "the session kept its token");
  });
}

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
  const only = process.argv[2];
  let failures = 0;
  for (const { name, run, options } of steps.filter((each) => !only || each.name.includes(only))) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    context.setDefaultTimeout(30_000);
    const page = await context.newPage();
    const complaints = [];
    page.on("console", (message) => { if (/Content Security Policy|Refused to/.test(message.text())) complaints.push(message.text()); });
    const shot = async (file) => {
      if (process.env.VESTIBULE_SHOTS) await page.screenshot({ path: path.join(process.env.VESTIBULE_SHOTS, `${file}.png`) });
    };
    try {
      await run({ page, context, browser, shot });
      assert.deepEqual(complaints, [], "the page breaks its own policy");
      console.log(`ok   ${name}`);
    } catch (error) {
      failures += 1;
      await shot(`failed-${steps.findIndex((each) => each.name === name)}`).catch(() => {});
      console.log(`FAIL ${name}\n     at ${page.url()}\n     ${String(error.stack).split("\n").slice(0, 6).join("\n     ")}`);
    } finally {
      await context.close();
    }
  }
  await browser.close();
  process.exitCode = failures ? 1 : 0;
})();
