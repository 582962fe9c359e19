// How fast the tab is, in a real TensorBoard and a real Chromium.
//
//     python benchmarks/tab_runs.py /tmp/runs          # once
//     node benchmarks/tab.mjs /tmp/runs                # a table; --json FILE as well
//     node benchmarks/tab.mjs /tmp/runs deep naive     # some log folders only
//     node benchmarks/tab.mjs /tmp/runs --beside DIR   # and another version, in turn: its source
//
// Measured inside of the tab's own frame: the time from its navigation to the first drawn
// heat-map (the first of them cold: the back end has not read the run before, and a large one is
// shown with some of its frames first) and to the one with all frames, the bytes of our answers on
// the wire until then, the memory of TensorBoard's Python process, and the longest task of the page
// while it is opened (by itself: TensorBoard's own page has longer ones) and while somebody scrolls, moves
// the pointer, changes the statistic, the encoding, the step and the zoom. Tasks are given in CPU
// time of the page's main thread, which other programs on the machine do not change; first
// pictures in wall time, with the load of the machine and the CPU time of the server beside them.
// "naive" is TensorBoard's own histogram dashboard on the same gradients; --rounds N repeats all,
// with a fresh server for each cold picture. Its picture is timed since the page was asked for,
// with TensorBoard's own start; so is ours in the line "since the page".
//
// Needs the packages of frontend/ (npm ci), a Chromium (variable CHROMIUM: another one than
// /usr/bin/chromium), and a Python with TensorBoard and this project (variable PYTHON).

import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { availableParallelism, loadavg } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";

const require = createRequire(
  new URL("../frontend/package.json", import.meta.url),
);
const { chromium } = require("playwright-core");

const PATIENCE = 180_000;
const TIMES = 3;
const FIRST_PICTURE = "gradient-health:first-picture";
const WHOLE_PICTURE = "gradient-health:whole-picture";
const HEALTH = {
  deep: "1,000 x 1,000",
  wide: "5,000 x 200",
  many: "20 runs of 200 x 500",
  hundreds: "200 runs of 100 x 300",
};

const args = process.argv.slice(2);
const at = args.indexOf("--json");
const json = at < 0 ? null : args.splice(at, 2)[1];
const again = args.indexOf("--rounds");
const ROUNDS = again < 0 ? 1 : Number(args.splice(again, 2)[1]);
const beside = args.indexOf("--beside");
const OTHER = beside < 0 ? null : resolve(args.splice(beside, 2)[1]);
/** What is measured, in turn: this version, and another one where one is named. */
const SOURCES = [
  resolve(new URL("..", import.meta.url).pathname),
  ...(OTHER ? [OTHER] : []),
];
const [folder, ...names] = args;
if (!folder)
  throw new Error("Say where the runs are: node benchmarks/tab.mjs DIR");

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** TensorBoard on a folder; `ready` asks it until it has read everything. */
async function withTensorBoard(source, logdir, ready, measure) {
  const port = await freePort();
  const address = `http://127.0.0.1:${port}/`;
  const server = spawn(
    process.env.PYTHON ?? "python",
    [
      "-m",
      "tensorboard.main",
      "--logdir",
      logdir,
      "--host",
      "127.0.0.1",
      "--port",
      String(port),
    ],
    { stdio: "ignore", env: { ...process.env, PYTHONPATH: source } },
  );
  try {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      if (await ready(address).catch(() => false)) break;
      if (Date.now() > deadline)
        throw new Error(`TensorBoard did not read ${logdir}`);
      await sleep(500);
    }
    return await measure(address, server.pid);
  } finally {
    server.kill();
  }
}

/** Resident memory of a process in megabytes; NaN where there is no /proc. */
function memory(pid) {
  if (!existsSync(`/proc/${pid}/status`)) return Number.NaN;
  const [, kilobytes] =
    /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) / 1000;
}

/** CPU time in milliseconds of a process and its children; NaN where there is no /proc. */
function cpuTime(pid) {
  if (!existsSync("/proc/self/stat")) return Number.NaN;
  const stats = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const fields = readFileSync(`/proc/${name}/stat`, "utf8")
          .replace(/^.*\) /s, "")
          .split(" ");
        return [
          {
            pid: Number(name),
            parent: Number(fields[1]),
            ticks: +fields[11] + +fields[12],
          },
        ];
      } catch {
        return []; // ended meanwhile
      }
    });
  const ours = new Set([pid]);
  for (const { pid: child, parent } of stats)
    if (ours.has(parent)) ours.add(child);
  const ticks = stats.reduce(
    (sum, stat) => sum + (ours.has(stat.pid) ? stat.ticks : 0),
    0,
  );
  return 10 * ticks; // 100 a second
}

const fetchJson = async (address) => (await fetch(address)).json();

/** All frames are there, and all runs are judged. */
const healthReady = (frames) => async (address) => {
  const { runs } = await fetchJson(
    `${address}data/plugin/gradient_health/runs`,
  );
  return (
    runs.length > 0 &&
    runs.every((run) => run.frames === frames && run.verdict !== null)
  );
};

const naiveReady = async (address) => {
  const tags = await fetchJson(`${address}data/plugin/histograms/tags`);
  return Object.values(tags).some((own) => Object.keys(own).length >= 1000);
};

async function openPage(browser) {
  const context = await browser.newContext({
    viewport: { width: 1440, height: 900 },
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  return { context, page };
}

/** CPU time in milliseconds of the longest task of the page's main thread while `act` runs. */
async function longestTask(browser, page, act) {
  await browser.startTracing(page, { categories: ["toplevel", "__metadata"] });
  await act();
  await page.waitForTimeout(500);
  const { traceEvents } = JSON.parse(await browser.stopTracing());
  const mains = new Set(
    traceEvents
      .filter(
        ({ name, args }) =>
          name === "thread_name" && args.name === "CrRendererMain",
      )
      .map(({ pid, tid }) => `${pid} ${tid}`),
  );
  const tasks = traceEvents.filter(
    ({ name, pid, tid, tdur }) =>
      name.endsWith("RunTask") &&
      tdur !== undefined &&
      mains.has(`${pid} ${tid}`),
  );
  return Math.max(0, ...tasks.map(({ tdur }) => tdur / 1000));
}

/** Bytes on the wire of every answer whose address matches, bodies only. */
function countBytes(page, matches) {
  const answers = [];
  page.on("requestfinished", (request) => {
    if (!matches(request.url())) return;
    answers.push(
      request
        .sizes()
        .then(({ responseBodySize }) => [request.url(), responseBodySize]),
    );
  });
  return async () => {
    const all = await Promise.all(answers);
    return all.reduce((sum, [, size]) => sum + size, 0);
  };
}

async function measureHealth(browser, address, pid) {
  const { context, page } = await openPage(browser);
  // The bundle itself comes from the cache for a year; data are what grows with a run.
  const bytes = countBytes(page, (url) =>
    /gradient_health\/(?!index\.js)/.test(url),
  );
  const before = cpuTime(pid);
  const start = performance.now();
  await page.goto(
    `${address}#gradient_health&p.gradient_health.statistic=gradient_rms`,
  );
  const element = await page.waitForSelector("iframe[src*='plugin_entry']");
  const frame = await element.contentFrame();
  await frame.waitForFunction(
    (mark) => performance.getEntriesByName(mark).length > 0,
    FIRST_PICTURE,
  );
  const sincePage = performance.now() - start;
  const first = await frame.evaluate(
    (mark) => performance.getEntriesByName(mark)[0].startTime,
    FIRST_PICTURE,
  );
  const transferred = await bytes();
  const serving = cpuTime(pid) - before;
  const reading = await frame.evaluate(
    () =>
      performance
        .getEntriesByType("resource")
        .find(({ name }) => /\/run\?/.test(name))?.duration ?? 0,
  );
  await frame.waitForFunction(
    (mark) => performance.getEntriesByName(mark).length > 0,
    WHOLE_PICTURE,
  );
  const whole = await frame.evaluate(
    (mark) => performance.getEntriesByName(mark)[0].startTime,
    WHOLE_PICTURE,
  );
  const wholeTransferred = await bytes();
  await frame.locator(".progress").waitFor({ state: "hidden" });
  const interactions = await interact(browser, page, frame);
  const all = await bytes();
  await context.close();
  const opening = await openAlone(browser, address);
  return {
    first,
    sincePage,
    whole,
    reading,
    serving,
    transferred,
    wholeTransferred,
    all,
    opening,
    memory: memory(pid),
    ...interactions,
  };
}

/** The longest task of a page that has nothing but the tab, until its picture has all frames. */
async function openAlone(browser, address) {
  const { context, page } = await openPage(browser);
  const longest = await longestTask(browser, page, async () => {
    await page.goto(`${address}data/plugin_entry.html?name=gradient_health`);
    const drawn = (mark) => performance.getEntriesByName(mark).length > 0;
    await page.waitForFunction(drawn, WHOLE_PICTURE);
    await page.locator(".progress").waitFor({ state: "hidden" });
  });
  await context.close();
  return longest;
}

/** What people do; of each the longest task. */
async function interact(browser, page, frame) {
  const cells = frame.locator("canvas.cells:visible").first();
  const box = await cells.boundingBox();
  const middle = [box.x + box.width / 2, box.y + box.height / 2];
  const found = {};
  const doing = async (name, act) => {
    found[name] = await longestTask(browser, page, act);
  };
  /** What an older version does not have is left out. */
  const pressing = async (name, button) => {
    if ((await button.count()) > 0) await doing(name, () => button.click());
  };
  const named = (name) => frame.getByRole("button", { name, exact: true });
  await frame
    .locator("details.options > summary, .options summary")
    .first()
    .click();
  await doing("open all modules", () =>
    frame.getByRole("button", { name: "Open all" }).click(),
  );
  await page.keyboard.press("Escape");
  await page.mouse.move(...middle);
  await doing("scroll", async () => {
    for (let i = 0; i < 40; i++) await page.mouse.wheel(0, 300);
  });
  await doing("move over cells", async () => {
    for (let i = 0; i < 40; i++) {
      await page.mouse.move(middle[0] - 200 + 10 * i, middle[1] - 100 + 4 * i);
    }
  });
  await doing("zoom", async () => {
    await page.mouse.move(...middle);
    await page.mouse.down();
    await page.mouse.move(middle[0] + 120, middle[1], { steps: 10 });
    await page.mouse.up();
  });
  await doing("reset zoom", () => frame.locator("button.zoom").click());
  await pressing("change", named("Change"));
  await pressing("value", named("Value"));
  await pressing("health", named("Health"));
  await doing("statistic", () =>
    frame.getByLabel("Statistic", { exact: true }).selectOption("update_ratio"),
  );
  await doing("step", async () => {
    await frame.locator(".scroller").focus();
    for (let i = 0; i < 20; i++) await page.keyboard.press("ArrowLeft");
  });
  await doing("open a variable", () => page.mouse.click(...middle));
  await doing("by depth", () =>
    frame.getByRole("button", { name: "By depth" }).click(),
  );
  await frame.getByRole("button", { name: "Over steps" }).click();
  await pressing("open a finding", frame.locator(".flag-head").first());
  return { interactions: found, busiest: Math.max(...Object.values(found)) };
}

/** TensorBoard's dashboard: until the first twelve of its 1,000 histograms are drawn. */
async function measureNaive(browser, address) {
  const { context, page } = await openPage(browser);
  const bytes = countBytes(page, (url) =>
    url.includes("/data/plugin/histograms/"),
  );
  const start = performance.now();
  await page.goto(`${address}#histograms`);
  await page
    .locator("vz-histogram-timeseries svg path")
    .first()
    .waitFor({ state: "attached" });
  const first = performance.now() - start;
  await page.waitForLoadState("networkidle");
  const shown = await page.locator("vz-histogram-timeseries:visible").count();
  const transferred = await bytes();
  await page.mouse.move(900, 500);
  const scroll = await longestTask(browser, page, async () => {
    for (let i = 0; i < 40; i++) await page.mouse.wheel(0, 300);
  });
  await context.close();
  return { first, transferred, shown, busiest: scroll };
}

const middle = (values) =>
  [...values].sort((a, b) => a - b)[values.length >> 1];
const milliseconds = (value) => `${Math.round(value)} ms`;
const kilobytes = (value) => `${Math.round(value / 1000)} kB`;

const FRAMES = { deep: 1000, wide: 200, many: 500, hundreds: 300 };
const results = {};
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
for (const source of SOURCES) {
  const bundle = readFileSync(
    join(source, "tb_gradients/plugin/static/index.js"),
  );
  console.log(
    `bundle of ${source}: ${kilobytes(gzipSync(bundle).length)} gzipped`,
  );
}
for (const name of names.length > 0
  ? names
  : [...Object.keys(HEALTH), "naive"]) {
  const logdir = join(folder, name);
  if (!existsSync(logdir))
    throw new Error(`${logdir} is missing: python benchmarks/tab_runs.py`);
  const naive = name === "naive";
  const ready = naive ? naiveReady : healthReady(FRAMES[name]);
  const sources = naive ? SOURCES.slice(0, 1) : SOURCES;
  const rounds = sources.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [which, source] of sources.entries()) {
      await withTensorBoard(source, logdir, ready, async (address, pid) => {
        for (let time = 0; time < TIMES; time++) {
          const found = await (naive ? measureNaive : measureHealth)(
            browser,
            address,
            pid,
          );
          rounds[which].push({
            ...found,
            load: loadavg()[0] / availableParallelism(),
          });
        }
      });
    }
  }
  for (const [which, source] of sources.entries()) {
    const title = naive
      ? "TensorBoard histograms, 1,000 tags x 100 steps"
      : HEALTH[name];
    console.log(`\n${title}${sources.length > 1 ? `, ${source}` : ""}`);
    report(rounds[which], naive);
    results[which === 0 ? name : `${name} of ${source}`] = rounds[which];
  }
}

function report(rounds, naive) {
  const [{ transferred, wholeTransferred, shown }] = rounds;
  const line = (what, value) => console.log(`  ${what.padEnd(18)}${value}`);
  // The first time TensorBoard has yet to read the run, after that it is kept.
  const cold = rounds.filter((_, i) => i % TIMES === 0);
  const warm = rounds.filter((_, i) => i % TIMES > 0);
  const range = (values) =>
    `${milliseconds(middle(values))} (${values.map((value) => Math.round(value)).join(", ")})`;
  const timed = (key) =>
    `cold ${range(cold.map((round) => round[key]))}, then ${range(warm.map((round) => round[key]))}`;
  line("first picture", timed("first"));
  if (!naive) {
    line("since the page", timed("sincePage"));
    line("with all frames", timed("whole"));
    line("of it reading", timed("reading"));
    line("CPU of the server", timed("serving"));
    line(
      "its memory",
      `${Math.round(Math.max(...rounds.map((round) => round.memory)))} MB`,
    );
  }
  line("load per core", rounds.map(({ load }) => load.toFixed(1)).join(", "));
  line("transferred", `${kilobytes(transferred)} for the first picture`);
  if (!naive)
    line("", `${kilobytes(wholeTransferred)} for the one with all frames`);
  if (naive) line("shown", `${shown} of 1,000 histograms`);
  const acts = Object.keys(rounds[0].interactions ?? {});
  if (!naive) line("opening", range(rounds.map(({ opening }) => opening)));
  for (const act of acts)
    line(act, range(rounds.map(({ interactions }) => interactions[act])));
  line("longest task", range(rounds.map(({ busiest }) => busiest)));
}
await browser.close();
if (json) writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`);
