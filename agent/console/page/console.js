"use strict";
// All that the agent says is put in as text, never as markup: whoever names an alarm writes no page.
const GONE = 3000, ROWS = 300;
const STAGES = { __proto__: null, 0: "watch", 1: "notify", "2a": "prepare", "2b": "switch over", 3: "shed", 4: "power off and isolate" };
const LIFE = { // what an alarm state means, and the order that leads on
  __proto__: null,
  "unacknowledged": ["ACTIVE, NOT ACKNOWLEDGED", "ack"], "acknowledged": ["active, acknowledged"],
  "rtn-unacknowledged": ["over, not acknowledged", "ack"], "latched-unacknowledged": ["LATCHED, NOT ACKNOWLEDGED", "ack"],
  "latched-acknowledged": ["latched, acknowledged", "reset-alarm"], "shelved": ["shelved", "unshelve"],
  "suppressed": ["suppressed"], "out-of-service": ["out of service", "in-service"] };

const ABC = new Intl.Collator("en", { numeric: true }); // module.2 before module.10

let last = null;             // what the console said last
let heard = [performance.now(), Date.now()]; // when, by two clocks: one stands still in a sleeping machine, one may be set
let begun = Date.now(), busy = false, failed = "";
let past = { gen: 0, seq: 0, columns: [], lines: new Map() };

const $ = id => document.getElementById(id);
function el(tag, cls, ...kids) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  e.append(...kids.flat().filter(k => k !== "" && k != null));
  return e;
}
// patch makes the children of a node those of kids and touches only what differs, so that a marked text stays marked.
function patch(node, kids) {
  kids.forEach((k, i) => {
    const o = node.childNodes[i];
    if (!o) node.append(k);
    else if (o.nodeName !== k.nodeName) o.replaceWith(k);
    else if (o.nodeType === Node.TEXT_NODE) { if (o.data !== k.data) o.data = k.data; }
    else {
      for (const n of o.getAttributeNames()) if (!k.hasAttribute(n)) o.removeAttribute(n);
      for (const n of k.getAttributeNames()) if (o.getAttribute(n) !== k.getAttribute(n)) o.setAttribute(n, k.getAttribute(n));
      patch(o, [...k.childNodes]);
    }
  });
  while (node.childNodes.length > kids.length) node.lastChild.remove();
}
const fill = (id, ...kids) => patch($(id), [...el("div", "", ...kids).childNodes]);

const two = n => String(n).padStart(2, "0");
function at(ms, utc) {
  const d = new Date(ms), z = utc ? "UTC" : "";
  const time = ["Hours", "Minutes", "Seconds"].map(p => two(d["get" + z + p]())).join(":");
  const day = [d["get" + z + "FullYear"](), two(d["get" + z + "Month"]() + 1), two(d["get" + z + "Date"]())].join("-");
  return Math.abs(Date.now() - ms) > 12 * 3600e3 ? day + " " + time : time;
}
function long(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  return s < 120 ? s + " s" : s < 7200 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " d";
}
const quoted = s => /^[\w.\/:@%+,-]+$/.test(s) ? s : "'" + s.replaceAll("'", "'\\''") + "'";
function order(word, name, rest = " --by YOU") {
  const file = last.who.file ? " -c " + quoted(last.who.file) : "";
  return el("code", "", "firebreak " + word + (name ? " " + quoted(name) : "") + file + rest);
}
const does = (what, code) => el("p", "dim", what + ": ", code);

function plan(p, late) {
  const open = p.episode !== 0, name = STAGES[p.stage] || "";
  const out = [el("h3", "", el("span", "tag", open ? "STAGE " + p.stage : "stage " + p.stage), p.plan + ": " + name + ", " + (p.mode === "armed" ? "armed" : "ONLY OBSERVES, calls no hook"))];
  if (open) {
    out.push(el("p", "", "Episode " + p.episode + ", for " + long(p.elapsed_s * 1000 + late) + (p.tripped_by ? ", opened by " + p.tripped_by : "") + (p.latched ? ", latched" : "")));
    if (p.cause) out.push(el("p", "", p.cause));
  }
  for (const [s, left] of Object.entries(p.countdown_s || {}))
    out.push(el("p", "ask", "Countdown: stage " + s + " (" + STAGES[s] + ") " + (p.held_by ? "is held with " + left + " s left" : "goes on in " + long(left * 1000 - late))));
  if (p.held_by) out.push(el("p", "ask", "Held by " + p.held_by + ", for " + p.hold_s + " s at most"));
  if (p.asking) out.push(el("p", "ask", "ASKS A PERSON: " + p.asking));
  if (open && p.act_by_s != null) out.push(el("p", "", "Irreversible steps must have begun within " + long(p.act_by_s * 1000 - late) + " to end before the stated loss of power"));
  if (p.peer) out.push(el("p", "", "Peer " + p.peer.agent + (p.peer.contact ? ": heard" : " CANNOT BE HEARD")));
  if (open) out.push(...(p.steps || []).map(s => el("div", "row step" + (/failed|capped|withheld|blocked/.test(s.state) ? " bad" : ""),
    el("span", "", s.stage), el("span", "name", s.step), el("b", "", s.state), el("span", "detail dim", s.detail || ""))));
  else out.push(el("p", "dim", "Steps, all at rest: " + (p.steps || []).map(s => s.stage + " " + s.step).join(", ")));
  const due = (p.outstanding || []).length;
  if (due) out.push(el("p", "ask", due + " done and not taken back" + (p.outstanding.some(o => o.overdue) ? ", OVERDUE" : "")), does("List", order("outstanding", "", "")), does("After the reset, take back", order("undo", p.plan)));
  if (open) out.push(does("Stop countdowns while somebody looks", order("hold", p.plan)), does("End it when all is quiet", order("reset", p.plan)));
  return el("article", "card" + (open ? " bad" : ""), out);
}

function alarm(a, base, late) {
  const [state, next] = LIFE[a.state] || [a.state], said = /^(active|over)/i.test(state);
  return el("article", "card" + (a.active && a.priority <= 2 ? " bad" : " warn"),
    el("h3", "", el("span", "tag", "P" + a.priority), a.name),
    el("p", "", el("b", "", state + (said ? "" : a.active ? ", active" : ", not active")), ", for " + long(a.since_ms + late) + " (since " + at(base - a.since_ms) + ")" +
      (a.first_out ? ", FIRST of its group" : "") + (a.basis && a.basis !== "measured" ? ", " + a.basis : "") + (a.origin !== "real" ? ", " + a.origin.toUpperCase() : "")),
    el("p", "", a.cause || ""),
    a.suppressed_by ? el("p", "dim", "Said already by " + a.suppressed_by) : "",
    next ? does({ ack: "Seen it", "reset-alarm": "Over and looked into", unshelve: "Back before its time", "in-service": "Back" }[next], order(next, a.name)) : "");
}

const unfit = p => !p.usable || p.stale;
const reason = p => p.quality.replace(":", ": ").replace("@", ", ") + (p.stale ? ", TOO OLD" : "");

function buses(a) {
  const out = Object.entries(a.buses || {}).sort().map(([name, b]) => el("div", "row bus" + (b.stuck || b.silent ? " bad" : ""),
    el("b", "", name), el("span", "", (100 * b.utilisation).toFixed(0) + " % busy"), el("span", "", b.missed + " slots missed"), el("span", "", b.failures + " polls failed"),
    el("b", "", b.stuck ? "HELD BY ONE DEVICE" : b.silent ? b.silent + (b.silent === 1 ? " DEVICE" : " DEVICES") + " SILENT" : "")));
  const devices = new Map();
  for (const p of a.points) {
    const name = p.name.split(".")[0], d = devices.get(name) || { all: 0, bad: 0, why: new Set() };
    d.all++;
    if (unfit(p)) { d.bad++; d.why.add(reason(p)); }
    devices.set(name, d);
  }
  const ill = [...devices].filter(([, d]) => d.bad);
  out.push(...ill.map(([name, d]) => el("div", "row bad", el("span", "", el("b", "", name), " " + d.bad + " of " + d.all + " points cannot be used (" + [...d.why].slice(0, 4).join("; ") + ")"))));
  if (!ill.length) out.push(el("p", "dim", "All points of all " + devices.size + " devices can be used."));
  return out.concat((a.telling || []).map(t => el("p", "ask", t)));
}

// curve draws the last ten minutes of point n; where it could not be used is a gap.
function curve(n) {
  if (!past.lines.has(n)) {
    const of = past.columns.map(c => c[n] ?? null), some = of.filter(v => v !== null), low = Math.min(...some), high = Math.max(...some);
    const parts = [[]];
    of.forEach((v, i) => v === null ? parts.push([]) : parts.at(-1).push((120 - of.length + i) + "," + (high > low ? 20 - 18 * (v - low) / (high - low) : 11).toFixed(1)));
    past.lines.set(n, [parts.filter(p => p.length).map(p => p.length > 1 ? p.join(" ") : p[0] + " " + p[0].replace(/^\d+/, x => +x + 1)), some.length ? "ten minutes: " + low + " to " + high : "no past"]);
  }
  const [lines, says] = past.lines.get(n), ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg");
  for (const [k, v] of [["class", "trend"], ["viewBox", "0 0 120 22"], ["role", "img"], ["aria-label", says]]) svg.setAttribute(k, v);
  for (const l of lines) svg.appendChild(document.createElementNS(ns, "polyline")).setAttribute("points", l);
  return svg;
}

function points(a, late) {
  const word = $("filter").value.toLowerCase();
  const all = a.points.map((p, n) => [p, n]).filter(([p]) => p.name.toLowerCase().includes(word));
  all.sort(([p], [q]) => unfit(q) - unfit(p) || (unfit(p) && q.votes - p.votes) || ABC.compare(p.name, q.name));
  const bad = a.points.filter(unfit).length;
  fill("point-count", a.points.length + " points, " + (bad ? bad + " CANNOT BE USED" : "all can be used") + (word ? "; " + all.length + " shown" : ""));
  const rows = all.slice(0, ROWS).map(([p, n]) => el("div", "row point" + (unfit(p) ? " bad" : ""), el("span", "name", p.name),
    el("span", "value", p.usable ? Number(p.value.toPrecision(6)) + " " + p.unit : "no value"), el("b", "quality", reason(p)),
    el("span", "age dim", p.quality === "none yet" ? "" : long(p.age_ms + late)), el("span", "votes dim", p.votes ? "votes" : ""), curve(n)));
  if (all.length > ROWS) rows.push(el("p", "ask", all.length - ROWS + " more are not shown: name them above"));
  fill("points", rows);
}

// worst is the one line for somebody who has just woken up, and what else there is to say.
function worst(a, late) {
  const standing = a.alarms.filter(x => x.active && !aside(x)), first = standing[0], open = a.plans.filter(p => p.episode).sort((p, q) => p.stage < q.stage ? 1 : -1)[0];
  const put = a.alarms.filter(x => x.active && aside(x) && x.state !== "suppressed").length; // it stands, and somebody has put it aside
  const rest = [standing.length > 1 ? standing.length - 1 + " more below" : "", put ? put + " put aside that stand all the same" : ""].filter(Boolean).join(", ");
  const others = rest ? "Alarms: " + rest : "", name = first ? "P" + first.priority + " " + first.name + ": " + first.cause : "";
  if (open) {
    const [stage, left] = Object.entries(open.countdown_s || {}).sort((x, y) => x[1] - y[1])[0] || [];
    return ["bad", "PLAN " + open.plan + " IS AT STAGE " + open.stage + " (" + STAGES[open.stage] + ")" + (open.mode === "armed" ? "" : ", only observing") +
      (stage ? ", stage " + stage + (open.held_by ? " held" : " in " + long(left * 1000 - late)) : "") + (open.asking ? ", ASKS A PERSON" : "") + (first ? "; " + name : ""), others];
  }
  if (first) return [first.priority <= 2 ? "bad" : "warn", "ALARM " + name, others];
  const bad = a.points.filter(unfit).length, left = a.alarms.filter(x => !aside(x)).length;
  if (left) return ["warn", "No alarm stands now; " + left + " that stood must be looked into", others];
  if (bad) return ["warn", "No alarm stands, but " + bad + " of " + a.points.length + " points cannot be used", others];
  if (!a.points.length) return ["warn", "The agent has no points: it sees nothing", ""];
  if (put) return ["warn", "No alarm stands but what somebody has put aside: " + put, ""];
  return ["calm", "No alarm stands and no plan is open. That is no proof of safety.", ""];
}
const aside = a => ["shelved", "suppressed", "out-of-service"].includes(a.state);

// how says whether what is shown is live, and if not, since when and whose silence it is.
function how() {
  const quiet = Math.max(performance.now() - heard[0], Date.now() - heard[1]), now = Date.now();
  if (failed) return { text: "THIS PAGE HAS FAILED, reload it: " + failed };
  if (!last || quiet > GONE) return { quiet, text: "THIS PAGE GETS NO ANSWER since " + at(last ? now - quiet : begun) + " (" + long(last ? quiet : now - begun) + "): the console, the tunnel or the network is gone.", why: "This says nothing of the agent. " };
  if (!last.ok) return { quiet, text: "NO ANSWER from the agent since " + at(now - last.silent_ms - quiet) + " (" + long(last.silent_ms + quiet) + ")", why: (last.fault || "") + ". " };
  return { quiet, live: true };
}

function draw() {
  const h = how(), a = last && last.answer, now = Date.now(), old = last ? last.silent_ms + (h.quiet || 0) : 0;
  const base = now - old, late = h.live ? old : 0; // what is old stands still
  const [kind, words, more] = a ? worst(a, late) : ["warn", "", ""];
  document.body.className = h.live ? "" : "old";
  $("banner").className = h.live ? kind : "gone";
  fill("worst", h.live ? words : h.text);
  document.title = (h.live ? words : "NO ANSWER").slice(0, 60) + " - firebreak";
  const made = a && a.plans.map(p => p.origin).find(o => o && o !== "real");
  if (last) fill("who", (made ? "READINGS ARE NOT REAL: " + made.toUpperCase() + ". " : "") + "Agent " + last.who.agent + ", site " + last.who.site + ", zone " + last.who.zone + (a ? "; " + (a.plans.map(p => p.plan + " " + (p.mode === "armed" ? "armed" : "ONLY OBSERVES")).join(", ") || "no plan") : ""));
  fill("more", h.live ? more : (h.why || "") + (a ? "All below is OLD, as of " + at(base) + ". Heard last: " + words : ""));
  fill("when", at(now) + " in this browser's zone, " + at(now, true) + " UTC");
  if (!a) return;
  const put = a.alarms.filter(aside), stand = a.alarms.filter(x => !aside(x)), count = new Map();
  for (const x of put) count.set(x.state, (count.get(x.state) || 0) + 1);
  const cards = list => list.slice(0, ROWS).map(x => alarm(x, base, late)).concat(list.length > ROWS ? el("p", "ask", list.length - ROWS + " more are not shown: firebreak status") : []);
  fill("plans", a.plans.length ? a.plans.map(p => plan(p, late)) : el("p", "dim", "None: nothing is switched by itself."));
  fill("alarm-count", stand.length + " to look at, " + put.length + " put aside");
  fill("alarms", stand.length ? cards(stand) : el("p", "dim", "None stands."));
  fill("aside-count", "Put aside: " + ([...count].map(([s, n]) => n + " " + LIFE[s][0]).join(", ") || "none"));
  fill("aside-list", cards(put));
  fill("buses", buses(a));
  points(a, late);
}

async function get(what) {
  const r = await fetch(what, { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(4000) });
  if (!r.ok) throw new Error(what + ": " + r.status);
  return r.json();
}

async function ask() {
  if (busy) return;
  busy = true;
  try {
    const s = await get("state");
    if (s.answer) s.answer.alarms.sort((x, y) => x.priority - y.priority || x.since_ms - y.since_ms);
    last = s;
    heard = [performance.now(), Date.now()];
    show();
    if (s.gen !== past.gen || s.seq > past.seq) {
      const from = s.gen === past.gen ? past.seq : 0, t = await get("trend?after=" + from);
      const before = t.gen === s.gen && from ? past.columns : [];
      past = { gen: t.gen, seq: t.seq, columns: before.concat(t.columns).slice(-120), lines: new Map() };
    }
  } catch { /* how() tells it once it lasts */ } finally { busy = false; }
}

function show() {
  try { failed = ""; draw(); } catch (e) {
    failed = String(e);
    document.body.className = "old";
    $("banner").className = "gone";
    $("worst").textContent = how().text;
  }
}

setInterval(() => { show(); ask(); }, 1000);
document.addEventListener("visibilitychange", show);
$("filter").addEventListener("input", show);
show();
ask();
