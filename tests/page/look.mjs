// Looks at the live page with chromium and says what it saw; ends with 1 if anything is not as wanted.
import { spawn, execFileSync } from "node:child_process";
import { createServer } from "node:net";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url), here = dirname(fileURLToPath(import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const program = process.env.SPIKED, pictures = process.env.SPIKED_PAGE_PICTURES === "1";
process.env.PATH += ":/usr/sbin";
const dir = mkdtempSync(join(tmpdir(), "spiked-page-")), children = [];
let offences = 0;

const sleep = ms => new Promise(done => setTimeout(done, ms));
function check(what, holds, saw = "") {
  console.log(`${holds ? "ok   " : "WRONG"} ${what}${saw === "" ? "" : `: ${saw}`}`);
  if (!holds) offences++;
}
async function waitFor(what, seconds, holds) {
  const begun = Date.now();
  for (;;) {
    const seen = await holds();
    if (seen) {
      check(what, true, `${((Date.now() - begun) / 1000).toFixed(1)} s, wanted ${seconds} s at most`);
      return seen;
    }
    if (Date.now() - begun > seconds * 1000) {
      check(what, false, `not within ${seconds} s`);
      return null;
    }
    await sleep(50);
  }
}
/** The daemon takes a variable SPIKED_… for a setting: ours are none. */
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("SPIKED_")));
function run(command, args) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env });
  children.push(child);
  child.text = "";
  child.stdout.on("data", data => { child.text += data; });
  child.stderr.on("data", data => { child.text += data; });
  return child;
}
const freePort = () => new Promise(done => {
  const server = createServer().listen(0, "127.0.0.1", () => { const { port } = server.address(); server.close(() => done(port)); });
});

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
/** A page whose console errors count as offences, but those of a connection that is lost on purpose. */
async function look(url, size = { width: 1280, height: 900 }, colorScheme = "light") {
  const page = await browser.newPage({ viewport: size, colorScheme });
  page.tolerant = false;
  page.on("console", message => {
    if (message.type() === "error" && !page.tolerant) check("no error in the console", false, message.text());
  });
  page.on("pageerror", error => check("no error in a script", false, error.message));
  page.on("dialog", dialog => { check("no script of a name runs", false, dialog.message()); dialog.dismiss(); });
  await page.goto(url);
  return page;
}
async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  const serious = violations.filter(v => v.impact === "serious" || v.impact === "critical");
  check(`axe finds nothing serious on ${what}`, serious.length === 0, serious.map(v => `${v.id} ${v.nodes[0]?.html.slice(0, 120)}`).join("; "));
}
async function fits(page, what) {
  const { beyond, widest } = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const out = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > width + .5);
    return { beyond: document.documentElement.scrollWidth - width, widest: out.slice(0, 6).map(e => `${e.tagName}.${e.className} "${e.textContent.slice(0, 40)}"`) };
  });
  check(`${what} needs no sideways scrolling`, beyond <= 0, `${beyond} px beyond${beyond > 0 ? ": " + widest.join(", ") : ""}`);
}
/** Red pixels of a chart's flagged stretches. */
const shaded = (page, channel) => page.evaluate(name => {
  const chart = [...document.querySelectorAll(".chart")].find(c => c.querySelector(".name")?.textContent === name);
  const canvas = chart?.querySelector("canvas");
  if (!canvas) return -1;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let n = 0;
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 20 && data[i] > 150 && data[i + 1] < 90 && data[i + 2] < 90) n++;
  return n;
}, channel);
const newestRow = page => page.evaluate(() => [...document.querySelectorAll(".figures dd")][3]?.textContent);

// ------------------------------------------------------------ the demo
async function demo() {
  const demo = run(program, ["demo"]);
  await waitFor("the demo starts", 20, () => /http:\/\//.test(demo.text));
  const base = /(http:\/\/[\d.:]+)/.exec(demo.text)[1];
  const overview = await look(base + "/");
  await waitFor("the demo's streams appear", 10, async () => (await overview.locator(".streams tbody tr").count()) === 4);
  const weight = await overview.evaluate(() => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .filter(e => !e.name.includes("/api/")).reduce((sum, e) => sum + e.decodedBodySize, 0));
  check("the page weighs less than 200 kB", weight > 50_000 && weight < 200_000, `${weight} bytes`);
  const stream = await look(base + "/#/stream/pump-1");
  await waitFor("a chart a channel is drawn", 10, async () => (await stream.locator(".chart canvas").count()) === 8);
  await stream.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver(list => { for (const e of list.getEntries()) window.longest = Math.max(window.longest, e.duration); }).observe({ type: "longtask" });
  });
  const before = await newestRow(stream);
  await waitFor("a chart keeps moving", 5, async () => { const now = await newestRow(stream); return now && now !== before; });

  // The first fault: pump-1, outlet_pressure. It lasts half a second of real time.
  await waitFor("the demo's first fault begins", 60, () => /pump-1\s+fault 1 begins/.test(demo.text));
  const begun = Date.now();
  await waitFor("the fault is listed as a card", 5, async () => (await overview.locator('.card.incident[data-stream="pump-1"]').count()) > 0);
  await waitFor("the fault is shaded in its chart", Math.max(5 - (Date.now() - begun) / 1000, 0.1), async () => (await shaded(stream, "outlet_pressure")) > 300);
  const card = overview.locator('.card.incident[data-stream="pump-1"]').first();
  const words = await card.innerText();
  check("the card names the channel, with value, expectation and distance in sd", /outlet_pressure/.test(words) && /bar/.test(words) && /± /.test(words) && / sd/.test(words), words.replace(/\s+/g, " ").slice(0, 160));
  // Let a second fault pass, so that there is a past to look at.
  await waitFor("a second fault begins", 30, () => /fault 2 begins/.test(demo.text));
  await waitFor("the incident is over", 20, async () => (await overview.locator('.card.incident[data-stream="pump-1"] .tag', { hasText: "over" }).count()) > 0);
  const past = await look(base + "/");
  await past.locator('.card.incident[data-stream="pump-1"] h3 a').last().click();
  await waitFor("its card leads to the charts of that time", 5, async () => (await shaded(past, "outlet_pressure")) > 300);
  await past.close();
  const all = await look(base + "/#/stream/pump-1?span=all&learning=1");
  await waitFor("the whole past is drawn, learning too", 10, async () => (await all.locator(".chart canvas").count()) === 14);
  await waitFor("its incident is shaded", 5, async () => (await shaded(all, "outlet_pressure")) > 300);
  const [there, elsewhere] = [await shaded(all, "outlet_pressure"), await shaded(all, "oil_temp")];
  check("and not where there was none", elsewhere < there, `${elsewhere} red pixels in oil_temp, ${there} in outlet_pressure`);
  await accessible(overview, "the overview");
  await accessible(all, "a stream");
  if (pictures) await takePictures(base);

  // The slider: fewer false alarms, fewer alarms.
  const slider = all.locator("#per-week");
  await slider.fill("2");
  const many = Number(/: (\d+) alarm/.exec(await all.locator(".whatif output").innerText())?.[1]);
  await slider.fill("-2");
  const few = Number(/: (\d+) alarm/.exec(await all.locator(".whatif output").innerText())?.[1]);
  check("the slider counts the alarms of another bar", many >= few && many > 0, `${many} at 100 a week, ${few} at one in 100 weeks`);
  check("the address carries the view", (await all.evaluate(() => location.hash)).includes("span=all"));

  // Zoom by keyboard, back, and the view as CSV.
  await all.locator(".chart").first().focus();
  await all.keyboard.press("+");
  await waitFor("a chart is zoomed by keyboard", 3, () => all.evaluate(() => location.hash.includes("from=")));
  const [file] = await Promise.all([all.waitForEvent("download"), all.getByRole("button", { name: "Save as CSV" }).click()]);
  const csv = readFileSync(await file.path(), "utf8").split("\r\n");
  check("the view is saved as CSV", csv.length > 50 && csv[0].startsWith("time,score,flagged,speed.value,speed.mean,speed.sd"), `${csv.length} lines`);
  await all.getByRole("button", { name: "Back to live" }).click();

  // Sizes and schemes.
  for (const [hash, what] of [["#/", "the overview"], ["#/stream/pump-1", "a stream"], ["#/coming-in", "what comes in"], ["#/daemon", "the daemon"]]) {
    const phone = await look(`${base}/${hash}`, { width: 390, height: 844 }, "dark");
    await sleep(1300);
    await fits(phone, `${what} at 390 px`);
    if (what !== "the daemon") await accessible(phone, `${what} at 390 px in the dark`);
    await phone.close();
  }
  const wall = await look(base + "/#/stream/pump-1", { width: 3840, height: 2160 });
  await waitFor("a stream is drawn at 4K", 10, async () => (await wall.locator(".chart canvas").count()) === 8);
  await fits(wall, "a stream at 4K");
  const letters = await wall.evaluate(() => parseFloat(getComputedStyle(document.body).fontSize));
  check("letters are readable at 4K", letters >= 20, `${letters} px`);
  await wall.close();
  await all.close();

  // A reload has the history at once.
  await stream.reload();
  await waitFor("a reload restores the history", 5, async () => (await stream.locator(".chart canvas").count()) === 8);
  overview.tolerant = stream.tolerant = true;
  const cooler = await (await fetch(base + "/api/v1/incidents?stream=cooler")).json();
  const relay = cooler.incidents.flatMap(i => i.channels).find(c => c.name === "fan_on");
  check("a channel of states says the state and the one expected", !relay || relay.state !== null && relay.expected_state !== null, JSON.stringify(relay));
  demo.kill("SIGINT");
  await waitFor("the demo ends with what to try next", 20, () => /try next/.test(demo.text));
  await waitFor("a lost connection is shown", 6, () => overview.locator("#lost").isVisible());
  await overview.close();
  await stream.close();
}

async function takePictures(base) {
  const page = await look(base + "/#/stream/pump-1?span=all", { width: 1100, height: 620 });
  await sleep(2500);
  await page.screenshot({ path: join(here, "stream.png") });
  await page.goto(base + "/#/");
  await page.locator(".card.incident").first().waitFor();
  await page.setViewportSize({ width: 560, height: 700 });
  await sleep(700);
  await page.locator(".card.incident").first().screenshot({ path: join(here, "incident.png") });
  await page.close();
}

// ------------------------------------------------------------ a daemon beside mosquitto
const HOSTILE = ["<img src=x onerror=alert(1)>", "a\"b'c", "&lt;script&gt;alert(2)", "{{7*7}} %2e%2e"];

function startBroker(port) {
  const config = join(dir, `mosquitto-${port}.conf`);
  writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\nlog_type error\n`);
  return run("mosquitto", ["-c", config]);
}
function startDaemon(broker, http, state, more = "") {
  const config = join(dir, "spiked.toml");
  writeFileSync(config, `[mqtt]\nurl = "mqtt://127.0.0.1:${broker}"\n[[input]]\ntopic = "plant/{stream}/{channel}"\n[http]\nlisten = "127.0.0.1:${http}"\n${more}[state]\ndir = "${state}"\nsnapshot_every_s = 2\n`);
  return run(program, ["run", "--config", config]);
}
/** Publishes lines of mosquitto_pub -l under one topic. */
function publish(broker, topic, lines) {
  execFileSync("mosquitto_pub", ["-p", String(broker), "-q", "1", "-l", "-t", topic], { input: lines.join("\n") + "\n" });
}

async function daemon() {
  const [broker, http] = [await freePort(), await freePort()], state = join(dir, "state");
  startBroker(broker);
  await sleep(300);
  let daemon = startDaemon(broker, http, state);
  const base = `http://127.0.0.1:${http}`, answers = async () => { try { return (await fetch(base + "/readyz")).ok; } catch { return false; } };
  await waitFor("the daemon is ready", 20, answers);
  const page = await look(base + "/");
  await page.getByText("No stream yet").waitFor();
  const start = Date.now() - 200_000, reading = (i, value) => JSON.stringify({ value, ts: start + 1000 * i });
  for (const name of HOSTILE) publish(broker, `plant/${name}/level`, [...Array(150).keys()].map(i => reading(i, 10 + Math.sin(i / 5))));
  publish(broker, "plant/tank/level", ["not a number"]);
  await waitFor("hostile names appear as text", 10, async () => (await page.locator(".streams tbody tr").count()) === HOSTILE.length);
  const names = await page.locator(".streams tbody th").allInnerTexts();
  check("each is shown as it is", HOSTILE.every(name => names.includes(name)), JSON.stringify(names));
  check("none became an element", (await page.locator("main img, main script").count()) === 0);
  await page.locator(".streams tbody a").first().click();
  await waitFor("a hostile stream opens", 5, async () => (await page.locator(".chart canvas").count()) === 1);
  const refused = await look(base + "/#/coming-in");
  await waitFor("what was refused is listed, with its topic, an excerpt and advice", 6, async () => {
    const text = await refused.locator("main").innerText();
    return /plant\/tank\/level/.test(text) && /not a number/.test(text);
  });
  const input = await refused.locator("section", { hasText: "Inputs" }).first().locator("tbody tr").first().innerText();
  const counted = input.split("\t").slice(1, 4).map(n => Number(n.replace(/,/g, "")));
  check("each input says what came and what was taken", /plant\/\+\/\+/.test(input) && counted[0] === 4 * 150 + 1 && counted[1] === 4 * 150 && counted[2] === 1, JSON.stringify(input));
  await accessible(refused, "what comes in");
  await refused.close();

  // A daemon that dies and comes back, with its past.
  await sleep(2500);
  page.tolerant = true;
  const kept = await page.evaluate(async () => (await (await fetch(`/api/v1/streams/${location.hash.split("/stream/")[1]}/history`)).json()).ts_ms.length);
  daemon.kill("SIGKILL");
  await waitFor("a lost connection is shown", 6, () => page.locator("#lost").isVisible());
  const token = join(dir, "token");
  writeFileSync(token, "a token for the page");
  daemon = startDaemon(broker, http, state, `admin = true\nadmin_token_file = "${token}"\n[output]\nfeedback = "token"\nfeedback_token = "another token for topics"\n`);
  await waitFor("the daemon is back", 20, answers);
  await waitFor("and the page finds it by itself", 8, async () => !(await page.locator("#lost").isVisible()));
  const after = await page.evaluate(async () => (await (await fetch(`/api/v1/streams/${location.hash.split("/stream/")[1]}/history`)).json()).ts_ms.length);
  check("history survives kill -9", kept >= 140 && after === kept, `${kept} points before, ${after} after`);
  await page.reload();
  await waitFor("and a reload shows it", 5, async () => (await page.locator(".chart canvas").count()) === 1);
  await instruct(page);
  await page.close();
  await steady(broker, base);
  daemon.kill("SIGTERM");
}

/** Channels that rest, that are counted in steps, and that are very large or small are shown by readable numbers. */
async function steady(broker, base) {
  const start = Date.now() - 400_000, rows = [...Array(300).keys()];
  const kinds = { rest: () => 5, zero: () => 0, coarse: i => 20 + Math.round(Math.sin(i / 40)), counter: i => 12345678 + 3 * i, tiny: i => 1e-9 * (1 + (i * 7919 % 101) / 1000) };
  const publishers = Object.entries(kinds).map(([name, of]) => [run("mosquitto_pub", ["-p", String(broker), "-q", "1", "-l", "-t", `plant/steady/${name}`]), of]);
  for (const i of rows) {
    for (const [publisher, of] of publishers) publisher.stdin.write(JSON.stringify({ value: of(i), ts: start + 1000 * i }) + "\n");
    await sleep(5);
  }
  publishers.forEach(([publisher]) => publisher.stdin.end());
  const page = await look(base + "/#/stream/steady");
  await waitFor("channels that rest are drawn", 15, async () => (await page.locator(".chart canvas").count()) === 5 && (await page.locator(".chart .expected").allInnerTexts()).every(text => /^expected /.test(text)));
  const said = await page.locator(".chart h3").allInnerTexts();
  check("none is said to lie within ± 0", said.every(text => !/± 0$/m.test(text)), JSON.stringify(said));
  check("values have the digits they came with", [/^rest\n5$/m, /^zero\n0$/m, /^coarse\n\d\d$/m].every(form => said.some(text => form.test(text))), JSON.stringify(said));
  await page.close();
}

/** Mutes and unmutes a stream by the buttons that [http] admin gives. */
async function instruct(page) {
  const mute = page.getByRole("button", { name: "Mute 1 h" });
  const give = async token => {
    await mute.click();
    await page.getByLabel("Token", { exact: true }).last().fill(token);
    await page.getByRole("button", { name: "Go on" }).click();
  };
  await mute.waitFor();
  await give("a wrong token for it");
  await waitFor("a wrong token is said", 3, async () => (await page.getByText("Wrong token").count()) === 1);
  await page.getByText("Wrong token").waitFor({ state: "detached" });
  await give("a token for the page");
  await waitFor("a mute comes back from the broker", 5, async () => /Muted until/.test(await page.locator("main").innerText()));
  await accessible(page, "a muted stream");
  await page.getByRole("button", { name: "Unmute" }).click();
  await waitFor("and so does its end", 5, async () => !/Muted until/.test(await page.locator("main").innerText()));
}

// ------------------------------------------------------------ long form: what a viewer costs
const cpu = pid => { const f = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" "); return (Number(f[11]) + Number(f[12])) / 100; };

async function load() {
  const [broker, http] = [await freePort(), await freePort()];
  startBroker(broker);
  await sleep(300);
  const daemon = startDaemon(broker, http, join(dir, "load"));
  const base = `http://127.0.0.1:${http}`;
  await waitFor("the daemon is ready", 20, async () => { try { return (await fetch(base + "/readyz")).ok; } catch { return false; } });
  const publishers = [...Array(50).keys()].map(s => [...Array(8).keys()].map(c => run("mosquitto_pub", ["-p", String(broker), "-l", "-t", `plant/s${s}/c${c}`]))).flat();
  let n = 0;
  const feed = setInterval(() => { n++; publishers.forEach((p, i) => p.stdin.write(`${Math.sin(n / 20 + i) + Math.random() / 5}\n`)); }, 50);
  await sleep(15_000);
  const spent = async seconds => { const from = cpu(daemon.pid); await sleep(seconds * 1000); return (cpu(daemon.pid) - from) / seconds; };
  const alone = await spent(20);
  const page = await look(base + "/#/stream/s7");
  await page.locator(".chart canvas").first().waitFor();
  const overview = await look(base + "/");
  await overview.locator(".streams tbody tr").first().waitFor();
  const frames = page.evaluate(() => new Promise(done => {
    const times = [];
    let last = performance.now();
    const tick = now => { times.push(now - last); last = now; if (times.length < 600) requestAnimationFrame(tick); else done(times.sort((a, b) => a - b)); };
    requestAnimationFrame(tick);
  }));
  const watched = await spent(20);
  const times = await frames;
  check("two viewers of 50 streams at 20 rows/s cost less than 20 % of a core more", watched - alone < 0.2, `${(100 * alone).toFixed(0)} % alone, ${(100 * watched).toFixed(0)} % watched`);
  check("frames take less than 50 ms", times[Math.floor(times.length * 0.95)] < 50, `median ${times[300].toFixed(0)} ms, 95 % ${times[570].toFixed(0)} ms, longest ${times[599].toFixed(0)} ms`);
  clearInterval(feed);
}

// ------------------------------------------------------------ reports of fits
/** A curve with a gap in it, and three classes: the reports that `spiked fit` writes of them. */
async function fitReports() {
  const noise = i => (i * 7919 % 101) / 101 - 0.5, rows = [...Array(240).keys()];
  const curve = rows.map(i => (i - 120) / 30).filter(x => Math.abs(x) > 1).map((x, i) => `${x.toFixed(3)},${(x * x * x / 10 + 0.6 * noise(i)).toFixed(4)}`);
  writeFileSync(join(dir, "curve.csv"), "x,y\n" + curve.join("\n") + "\n");
  const classes = rows.map(i => `${noise(i).toFixed(3)},${noise(i + 7).toFixed(3)},${noise(i) + 0.6 * noise(3 * i) > 0.1 ? 2 : noise(i + 7) > 0 ? 1 : 0}`);
  writeFileSync(join(dir, "classes.csv"), "a,b,kind\n" + classes.join("\n") + "\n");
  for (const [task, target, sections, charts] of [["regression", "y", ["The learned curve", "Learning", "Calibration", "Figures of each pass"], 5], ["classification", "kind", ["Learning", "Calibration", "Answers by their stated probability"], 3]]) {
    const name = task === "regression" ? "curve" : "classes", file = join(dir, name + ".html");
    execFileSync(program, ["fit", "--task", task, "--target", target, "--data", join(dir, name + ".csv"), "--hidden", "100", "--passes", "20", "--split", "0.7", "--report", file], { env, stdio: "pipe" });
    const report = await look("file://" + file);
    await waitFor(`the report of a ${task} is drawn`, 5, () => report.evaluate(() => document.documentElement.dataset.ready));
    const heads = await report.locator("h2").allInnerTexts();
    check(`the report of a ${task} has its sections`, sections.every(s => heads.includes(s)), heads.join(", "));
    check("and its charts", (await report.locator(".chart canvas").count()) === charts, String(await report.locator(".chart canvas").count()));
    await accessible(report, `the report of a ${task}`);
    if (task === "regression") {
      const band = await report.evaluate(() => {
        const c = Sheet.data.curve, at = x => c.ignorance_sd[c.x.findIndex(v => v >= x)];
        return { gap: at(0), rows: at(2) };
      });
      check("what is not known grows where there were no rows", band.gap > 1.5 * band.rows, `${band.gap.toFixed(3)} in the gap, ${band.rows.toFixed(3)} among rows`);
      if (process.env.SPIKED_PAGE_SHOTS) await report.screenshot({ path: join(process.env.SPIKED_PAGE_SHOTS, "fit.png"), fullPage: true });
    } else if (process.env.SPIKED_PAGE_SHOTS) await report.screenshot({ path: join(process.env.SPIKED_PAGE_SHOTS, "fit-classes.png"), fullPage: true });
    await report.setViewportSize({ width: 390, height: 844 });
    await sleep(200);
    await fits(report, `the report of a ${task} at 390 px`);
    await report.close();
  }
}

try {
  if (process.env.SPIKED_PAGE_ONLY !== "load") {
    await fitReports();
    await demo();
    await daemon();
  }
  if (process.env.SPIKED_PAGE_LOAD === "1") await load();
} catch (error) {
  check("the look goes on to its end", false, error.stack);
} finally {
  await browser.close();
  for (const child of children) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
}
process.exit(offences ? 1 : 0);
