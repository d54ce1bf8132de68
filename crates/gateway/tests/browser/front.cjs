// Looks at the front door with a real Chromium: each layout at three widths, light and dark, two brands, two languages; the
// chooser, the emergency door, the host of no tenant, the administrators' lists. axe finds nothing, nothing is wider than the window.
//
//   VESTIBULE_NORTH, VESTIBULE_SOUTH   origins of the portals of two tenants, the second with a brand of its own
//   VESTIBULE_WEST                     the portal of a tenant with identity providers and an emergency door
//   VESTIBULE_FRONT                    origin of the host of no tenant
//   VESTIBULE_USER, VESTIBULE_PASSWORD         somebody of the north
//   VESTIBULE_ADMIN, VESTIBULE_ADMIN_PASSWORD  an emergency account of the north
//   VESTIBULE_SHOTS                    a folder for screenshots (optional)
//   CHROMIUM                           the browser's program, /usr/bin/chromium by default
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const need = (name) => process.env[name] || assert.fail(`${name} is not set`);
const [north, south, west, front] = ["NORTH", "SOUTH", "WEST", "FRONT"].map((name) => need(`VESTIBULE_${name}`));
const PHONE = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36";
const SIZES = [[360, 740], [768, 900], [1280, 800]];
let looks = 0;

/** What must hold of every page, however it is shown. */
const look = async (page, name) => {
  looks += 1;
  if (process.env.VESTIBULE_SHOTS) await page.screenshot({ path: path.join(process.env.VESTIBULE_SHOTS, `${name}.png`), fullPage: true });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `${name} is wider than its window`);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`), [], name);
};

const signIn = async (page, name, secret) => {
  await page.getByLabel("User name").fill(name);
  await page.getByLabel("Password", { exact: true }).fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
};

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
  const open = async (options, run) => {
    // The pages' policy holds: forms must reach where they lead, and axe comes from outside of it.
    const context = await browser.newContext(options);
    context.setDefaultTimeout(30_000);
    try { await run(await context.newPage(), context); } finally { await context.close(); }
  };

  for (const [brand, portal] of [["plain", north], ["brand", south]]) {
    for (const [locale, heading] of [["en-GB", /^(Sign in|Welcome)/], ["de-DE", /^(Anmelden|Welcome)/]]) {
      for (const display of ["page", "popup", "touch"]) {
        for (const [width, height] of SIZES) {
          const scheme = (width === 768) === (locale === "de-DE") ? "dark" : "light";
          const viewport = display === "popup" && width === 360 ? { width: 400, height: 480 } : { width, height };
          await open({ viewport, locale, colorScheme: scheme, reducedMotion: "reduce" }, async (page) => {
            await page.goto(`${portal}/login?display=${display}`);
            assert.match(await page.getByRole("heading", { level: 1 }).innerText(), heading);
            assert.equal(await page.locator("html").getAttribute("lang"), locale.slice(0, 2));
            await look(page, `${brand}-${display}-${width}-${locale.slice(0, 2)}-${scheme}`);
            if (display === "touch") {
              const { height: target } = await page.locator("button.primary").boundingBox();
              assert.ok(target >= 48, `${target} px`);
            }
            if (display === "popup" && width === 360) {
              assert.equal(await page.evaluate(() => document.documentElement.scrollHeight <= innerHeight), true, "the popup scrolls");
            }
          });
        }
      }
    }
  }
  console.log("ok   every layout");

  await open({ viewport: { width: 1280, height: 800 } }, async (page) => {
    await page.goto(`${west}/login`);
    await page.getByRole("link", { name: "Example Bank" }).waitFor();
    assert.equal(await page.getByRole("link", { name: "User name and password" }).count(), 0, "nobody is led to the emergency door");
    await look(page, "chooser");
    await page.goto(`${west}/login?login`);
    await look(page, "emergency");
    await signIn(page, "nobody", "nothing");
    await page.getByRole("alert").waitFor();
    await look(page, "emergency-refused");
  });
  console.log("ok   the chooser and the emergency door");

  await open({ viewport: { width: 768, height: 900 } }, async (page) => {
    await page.goto(`${front}/`);
    await look(page, "tenantless");
    await signIn(page, `${need("VESTIBULE_USER")}@north`, need("VESTIBULE_PASSWORD"));
    await page.waitForURL(`${north}/`);
    await page.getByText(need("VESTIBULE_USER"), { exact: true }).first().waitFor();
    await look(page, "tenantless-home");
  });
  console.log("ok   the host of no tenant");

  await open({ viewport: { width: 1280, height: 800 } }, async (page) => {
    await page.goto(`${north}/history`);
    await signIn(page, need("VESTIBULE_ADMIN"), need("VESTIBULE_ADMIN_PASSWORD"));
    await page.waitForURL(`${north}/history`);
    await page.getByRole("cell", { name: "Success" }).first().waitFor();
    await look(page, "history");
    await page.setViewportSize({ width: 360, height: 740 });
    await look(page, "history-360");
    await page.goto(`${north}/history/delegated`);
    await look(page, "history-delegated");
    await page.goto(`${north}/`);
    await page.getByRole("link", { name: "Login history" }).waitFor();
    await look(page, "home-administrator");
  });
  console.log("ok   the administrators' lists");

  await open({ viewport: { width: 1280, height: 800 } }, async (page) => {
    await page.goto(`${west}/login?login`);
    await signIn(page, need("VESTIBULE_ADMIN"), need("VESTIBULE_ADMIN_PASSWORD"));
    await page.getByRole("link", { name: "Inspect a SAML response" }).click();
    await look(page, "inspect");
    await page.getByLabel("Response", { exact: true }).fill("<x/>");
    await page.getByRole("button", { name: "Inspect" }).click();
    await page.getByText("It would be refused: malformed.").waitFor();
    await look(page, "inspect-refused");
    await page.setViewportSize({ width: 360, height: 740 });
    await look(page, "inspect-refused-360");
  });
  console.log("ok   a pasted response");

  for (const locale of ["en-GB", "de-DE"]) {
    await open({ viewport: { width: 360, height: 740 }, locale, isMobile: true, hasTouch: true, userAgent: PHONE }, async (page) => {
      await page.goto(`${south}/nothing-here`);
      assert.match(await page.locator("html").getAttribute("class"), /touch/, "a phone is touched");
      await look(page, `missing-${locale.slice(0, 2)}`);
    });
  }
  console.log("ok   a page that is not there");
  console.log(`looked at ${looks} pages`);
  await browser.close();
})().catch((error) => {
  console.log(`FAIL ${error.stack}`);
  process.exit(1);
});
