// The web page: reads the API as any client does, and follows it by blocking queries. What comes
// from the API becomes text, never markup. The token lives as long as the browser's tab.

const main = document.getElementById("main");
const fault = document.getElementById("fault");
let view = new AbortController();

function h(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) e.setAttribute(name, value);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return e;
}

const link = (to, text) => h("a", { href: to }, text);
const short = (id) => (id ?? "").slice(0, 8);
const enc = encodeURIComponent;
const jobPath = (id, ns) => `/ui/jobs/${enc(id)}@${enc(ns)}`;
const when = (ns) => (ns > 0 ? new Date(ns / 1e6).toLocaleString() : "");
const KINDS = {
  good: ["running", "ready", "complete", "successful", "alive", "eligible", "passing", "success"],
  bad: ["failed", "lost", "down", "dead", "ineligible", "unknown", "failure", "cancelled"],
  soon: ["pending", "initializing", "blocked", "draining", "paused", "left"],
};

function state(text) {
  const kind = Object.keys(KINDS).find((k) => KINDS[k].includes(text));
  return h("span", { class: kind }, text ?? "");
}

function table(heads, rows, none) {
  if (!rows.length) return h("p", {}, none ?? "none");
  const row = (cells, tag) => h("tr", {}, cells.map((c) => h(tag, {}, c ?? "")));
  return h("div", { class: "wide" }, h("table", {},
    h("thead", {}, row(heads, "th")), h("tbody", {}, rows.map((r) => row(r, "td")))));
}

const pairs = (of) => table(["", ""], Object.entries(of).map(([k, v]) => [k, v]));

async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { "X-Nomad-Token": token } : {};
  const answer = await fetch(path, { signal: view.signal, ...options, headers });
  if (answer.ok) return answer;
  const text = (await answer.text()).trim();
  const hint = answer.status === 403 ? "\nA token may be given under “Token”." : "";
  throw new Error(`${answer.status}: ${text}${hint}`);
}

const json = async (path, options) => (await call(path, options)).json();
const send = (method, path, body) =>
  call(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });

function told(error) {
  if (error?.name === "AbortError") return;
  fault.hidden = !error;
  fault.textContent = error ? error.message : "";
}

// Reads paths and shows them, and again whenever the first has changed, for as long as the view is
// there. One request waits at a time: browsers allow six to a server, over all tabs.
async function follow(first, ...others) {
  const { signal } = view;
  const wait = others.length ? "3s" : "60s";
  const shown = new Map();
  const fresh = async (answer, [path, show]) => {
    const text = await answer.text();
    if (shown.get(path) === text) return; // what a person has opened or chosen stays so
    await show(JSON.parse(text));
    shown.set(path, text);
  };
  let index = 0;
  while (!signal.aborted) {
    try {
      const [path] = first;
      const mark = path.includes("?") ? "&" : "?";
      const answer = await call(`${path}${mark}index=${index}&wait=${wait}`, { signal });
      const next = Number(answer.headers.get("X-Nomad-Index")) || 1;
      index = next < index ? 0 : next;
      await fresh(answer, first);
      for (const other of others) await fresh(await call(other[0], { signal }), other);
      told(null);
    } catch (error) {
      if (signal.aborted) return;
      told(error);
      index = 0;
      await new Promise((done) => setTimeout(done, 3000));
    }
  }
}

function button(text, question, act) {
  return h("button", {
    onclick: async (event) => {
      if (question && !confirm(question)) return;
      event.target.disabled = true;
      try {
        await act();
        told(null);
      } catch (error) {
        told(error);
      }
      event.target.disabled = false;
    },
  }, text);
}

// Parts of a view that change apart from each other.
function parts(title, names) {
  const all = Object.fromEntries(names.map((n) => [n, h("section", {})]));
  main.replaceChildren(h("h1", {}, title), ...Object.values(all));
  return all;
}

const allocRows = (list, withJob) => list
  .sort((a, b) => b.CreateIndex - a.CreateIndex)
  .map((a) => [
    link(`/ui/allocations/${a.ID}`, short(a.ID)),
    withJob ? link(jobPath(a.JobID, a.Namespace), a.JobID) : String(a.JobVersion),
    a.TaskGroup, link(`/ui/clients/${a.NodeID}`, a.NodeName || short(a.NodeID)),
    state(a.ClientStatus), a.DesiredStatus, when(a.ModifyTime),
  ]);

function allocs(list, withJob) {
  const heads = ["Allocation", withJob ? "Job" : "Version", "Group", "Node", "Status", "Desired",
    "Changed"];
  return [h("h2", {}, "Allocations"), table(heads, allocRows(list, withJob))];
}

function jobs() {
  const p = parts("Jobs", ["find", "list"]);
  let all = [];
  const field = h("input", { type: "search", placeholder: "part of a name", oninput: () => show() });
  p.find.append(field);
  const show = () => p.list.replaceChildren(table(
    ["Job", "Namespace", "Type", "Status", "Running", "Priority"],
    all.filter((j) => j.ID.includes(field.value)).map((j) => {
      const groups = Object.values(j.JobSummary?.Summary ?? {});
      const sum = (name) => groups.reduce((n, g) => n + (g[name] ?? 0), 0);
      const waits = sum("Queued") + sum("Starting");
      return [link(jobPath(j.ID, j.Namespace), j.Name), j.Namespace, j.Type,
        state(j.Stop ? "stopped" : j.Status),
        `${sum("Running")}${waits ? ` (+${waits} to start)` : ""}`, String(j.Priority)];
    }), "no jobs; vardo job run sends one"));
  follow(["/v1/jobs?namespace=*", (list) => { all = list; show(); }]);
}

function job(name) {
  const at = name.lastIndexOf("@");
  const [id, ns] = at > 0 ? [name.slice(0, at), name.slice(at + 1)] : [name, "default"];
  const p = parts(id, ["head", "groups", "deployments", "allocations", "evaluations", "text"]);
  const base = `/v1/job/${enc(id)}`;
  const q = `?namespace=${enc(ns)}`;
  const head = (j) => {
    const buttons = j.Stop
      ? [button("Start", null, () => send("PUT", `/v1/jobs${q}`, { Job: { ...j, Stop: false } }))]
      : [button("Stop", `Stop the job ${id}?`, () => send("DELETE", base + q))];
    if (j.Periodic && !j.Stop) {
      buttons.push(button("Run now", null, () => send("PUT", `${base}/periodic/force${q}`)));
    }
    p.head.replaceChildren(...buttons, pairs({
      Status: state(j.Stop ? "stopped" : j.Status), Namespace: j.Namespace, Type: j.Type,
      Version: String(j.Version), Submitted: when(j.SubmitTime), "Node pool": j.NodePool,
    }));
    p.text.replaceChildren(h("details", {}, h("summary", {}, "Definition"),
      h("pre", {}, JSON.stringify(j, null, 2))));
  };
  const groups = (s) => p.groups.replaceChildren(h("h2", {}, "Groups"), table(
    ["Group", "Queued", "Starting", "Running", "Complete", "Failed", "Lost"],
    Object.entries(s.Summary ?? {}).map(([group, n]) => [group,
      ...["Queued", "Starting", "Running", "Complete", "Failed", "Lost"].map((k) => String(n[k]))]),
  ));
  const deployments = (list) => p.deployments.replaceChildren(...(list.length
    ? [h("h2", {}, "Deployments"), table(["Deployment", "Version", "Status", "What", ""],
      list.sort((a, b) => b.CreateIndex - a.CreateIndex).slice(0, 5).map((d) => [
        short(d.ID), String(d.JobVersion), state(d.Status), d.StatusDescription,
        d.Status === "running" && Object.values(d.TaskGroups).some((g) => g.DesiredCanaries > 0)
          ? button("Promote", null, () => send("PUT", `/v1/deployment/promote/${d.ID}${q}`,
            { DeploymentID: d.ID, All: true })) : ""]))] : []));
  const evaluations = (list) => p.evaluations.replaceChildren(
    h("h2", {}, "Evaluations"), table(["Evaluation", "Trigger", "Status", "What"],
      list.sort((a, b) => b.CreateIndex - a.CreateIndex).slice(0, 10).map((e) => [
        short(e.ID), e.TriggeredBy, state(e.Status), e.StatusDescription ||
        Object.keys(e.FailedTGAllocs ?? {}).map((g) => `no place for ${g}`).join(", ")])));
  follow(
    [`${base}/allocations${q}`, (list) => p.allocations.replaceChildren(...allocs(list))],
    [base + q, head], [`${base}/summary${q}`, groups], [`${base}/deployments${q}`, deployments],
    [`${base}/evaluations${q}`, evaluations],
  );
}

// The command line prints the begin of ids.
async function whole(list, id) {
  if (id.length === 36) return id;
  const found = await json(`${list}?namespace=*&prefix=${enc(id)}`);
  if (found.length !== 1) throw new Error(`${found.length} ids begin with ${id}`);
  return found[0].ID;
}

async function allocation(begin) {
  const id = await whole("/v1/allocations", begin);
  const p = parts(`Allocation ${short(id)}`, ["head", "tasks", "logs"]);
  let known = "";
  follow([`/v1/allocation/${enc(id)}`, (a) => {
    p.head.replaceChildren(
      button("Restart", null, () => send("PUT", `/v1/client/allocation/${a.ID}/restart`,
        { AllTasks: true })),
      button("Stop", "Stop this allocation? Another takes its place.",
        () => send("PUT", `/v1/allocation/${a.ID}/stop`)),
      pairs({
        Job: link(jobPath(a.JobID, a.Namespace), `${a.JobID} (${a.Namespace})`),
        Name: a.Name, Node: link(`/ui/clients/${a.NodeID}`, a.NodeName), Status: state(a.ClientStatus),
        Desired: a.DesiredStatus, What: a.ClientDescription || a.DesiredDescription,
        Created: when(a.CreateTime),
      }));
    const tasks = Object.entries(a.TaskStates ?? {});
    p.tasks.replaceChildren(h("h2", {}, "Tasks"), ...tasks.flatMap(([task, t]) => [
      h("p", {}, h("b", {}, task), " ",
        state(t.Failed ? "failed" : t.State === "dead" ? "complete" : t.State),
        t.Restarts ? `, restarts: ${t.Restarts}` : ""),
      table(["When", "Event", "What"], (t.Events ?? []).slice().reverse()
        .map((e) => [when(e.Time), e.Type, e.DisplayMessage])),
    ]));
    const names = (a.Job?.TaskGroups ?? []).find((g) => g.Name === a.TaskGroup)?.Tasks ?? [];
    const all = names.map((t) => t.Name);
    if (all.join() !== known) {
      known = all.join();
      logs(p.logs, a.ID, all);
    }
  }]);
}

function logs(place, id, tasks) {
  const out = h("pre", {});
  let reading = new AbortController();
  const options = (list) => list.map((t) => h("option", {}, t));
  const read = async () => {
    reading.abort();
    reading = new AbortController();
    const signal = AbortSignal.any([reading.signal, view.signal]);
    out.textContent = "";
    const q = `task=${enc(task.value)}&type=${type.value}&origin=end&offset=20000`;
    try {
      const answer = await call(`/v1/client/fs/logs/${id}?plain=true&follow=true&${q}`, { signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const low = out.scrollTop + out.clientHeight >= out.scrollHeight - 8;
        out.textContent = (out.textContent + value).slice(-200000);
        if (low) out.scrollTop = out.scrollHeight;
      }
    } catch (error) {
      if (!signal.aborted) out.textContent += `\n${error.message}`;
    }
  };
  const task = h("select", { onchange: read }, options(tasks));
  const type = h("select", { onchange: read }, options(["stdout", "stderr"]));
  place.replaceChildren(h("h2", {}, "Logs"), task, type, out);
  read();
}

function clients() {
  const p = parts("Nodes", ["list"]);
  follow(["/v1/nodes", (list) => p.list.replaceChildren(table(
    ["Node", "Name", "Datacenter", "Pool", "Address", "Status", "Eligibility"],
    list.map((n) => [link(`/ui/clients/${n.ID}`, short(n.ID)), n.Name, n.Datacenter, n.NodePool,
      n.Address, state(n.Drain ? "draining" : n.Status), state(n.SchedulingEligibility)])))]);
}

async function client(begin) {
  const id = await whole("/v1/nodes", begin);
  const p = parts(`Node ${short(id)}`, ["head", "allocations", "more"]);
  const path = `/v1/node/${enc(id)}`;
  const head = (n) => {
    const able = n.SchedulingEligibility === "eligible";
    const drain = (spec) => send("PUT", `${path}/drain`,
      { NodeID: n.ID, DrainSpec: spec, MarkEligible: !spec });
    p.head.replaceChildren(
      button(able ? "Make ineligible" : "Make eligible", null, () => send("PUT",
        `${path}/eligibility`, { NodeID: n.ID, Eligibility: able ? "ineligible" : "eligible" })),
      n.DrainStrategy ? button("Stop draining", null, () => drain(null))
        : button("Drain", "Move everything away from this node?",
          () => drain({ Deadline: 3600e9, IgnoreSystemJobs: false })),
      pairs({
        Name: n.Name, Status: state(n.DrainStrategy ? "draining" : n.Status),
        Eligibility: state(n.SchedulingEligibility), Datacenter: n.Datacenter, Pool: n.NodePool,
        Class: n.NodeClass, CPU: `${n.NodeResources?.Cpu?.CpuShares} MHz`,
        Memory: `${n.NodeResources?.Memory?.MemoryMB} MiB`,
        Disk: `${n.NodeResources?.Disk?.DiskMB} MiB`,
      }));
    p.more.replaceChildren(h("details", {}, h("summary", {}, "Attributes"),
      pairs({ ...n.Attributes, ...n.Meta })));
  };
  const running = (list) => p.allocations.replaceChildren(...allocs(list, true));
  follow([`${path}/allocations`, running], [path, head]);
}

function services() {
  const p = parts("Services", ["list"]);
  follow(["/v1/services?namespace=*", async (spaces) => {
    const rows = [];
    for (const { Namespace, Services } of spaces) {
      for (const s of Services) {
        const q = `namespace=${enc(Namespace)}`;
        for (const r of await json(`/v1/service/${enc(s.ServiceName)}?${q}`)) {
          rows.push([s.ServiceName, Namespace, r.Address + (r.Port ? `:${r.Port}` : ""),
            (r.Tags ?? []).join(", "), link(jobPath(r.JobID, Namespace), r.JobID),
            link(`/ui/allocations/${r.AllocID}`, short(r.AllocID))]);
        }
      }
    }
    p.list.replaceChildren(table(["Service", "Namespace", "Address", "Tags", "Job", "Allocation"],
      rows));
  }]);
}

function variables() {
  const p = parts("Variables", ["list", "one"]);
  follow(["/v1/vars?namespace=*", (list) => p.list.replaceChildren(table(
    ["Path", "Namespace", "Changed", ""],
    list.map((v) => [v.Path, v.Namespace, when(v.ModifyTime), button("Show", null, async () => {
      const path = v.Path.split("/").map(enc).join("/");
      const one = await json(`/v1/var/${path}?namespace=${enc(v.Namespace)}`);
      p.one.replaceChildren(h("h2", {}, v.Path), pairs(one.Items));
    })])))]);
}

async function servers() {
  const p = parts("Servers", ["list"]);
  try {
    const [{ Members }, leader] = await Promise.all([
      json("/v1/agent/members"), json("/v1/status/leader")]);
    p.list.replaceChildren(table(["Name", "Address", "Status", "Leads", "Version"],
      Members.map((m) => {
        const address = `${m.Addr}:${m.Tags?.port}`;
        return [m.Name, address, state(m.Status), address === leader ? "yes" : "",
          m.Tags?.build];
      })));
    told(null);
  } catch (error) {
    told(error);
  }
}

function token() {
  const p = parts("Token", ["form", "self"]);
  const field = h("input", { type: "password", size: 40, autocomplete: "off",
    placeholder: "secret of a token" });
  const show = async () => {
    p.self.replaceChildren();
    if (!sessionStorage.getItem("token")) return;
    const t = await json("/v1/acl/token/self");
    p.self.replaceChildren(pairs({ Accessor: t.AccessorID, Name: t.Name, Type: t.Type,
      Policies: (t.Policies ?? []).join(", "), Ends: t.ExpirationTime ?? "" }));
  };
  const set = (secret) => {
    if (secret) sessionStorage.setItem("token", secret);
    else sessionStorage.removeItem("token");
    return show();
  };
  p.form.append(field, button("Use", null, () => set(field.value.trim())),
    button("Forget", null, () => set("")));
  show().catch(told);
}

const VIEWS = { jobs: [jobs, job], clients: [clients, client], allocations: [jobs, allocation],
  services: [services], variables: [variables], servers: [servers], settings: [token, token] };

function go() {
  view.abort();
  view = new AbortController();
  told(null);
  const [, , given, ...rest] = location.pathname.split("/");
  const place = given || "jobs";
  const [list, one] = VIEWS[place] ?? VIEWS.jobs;
  const name = decodeURIComponent(rest.join("/"));
  for (const a of document.querySelectorAll("nav a")) {
    const here = a.pathname.split("/")[2] === (place === "allocations" ? "jobs" : place);
    if (here) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  if (name && one) Promise.resolve(one(name)).catch(told);
  else list();
}

addEventListener("popstate", go);
addEventListener("click", (event) => {
  const a = event.target.closest?.("a[href^='/ui/']");
  if (!a || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState(null, "", a.getAttribute("href"));
  go();
});

// A one-time token of the command line becomes the tab's token.
const once = new URLSearchParams(location.search).get("ott");
let problem = null;
if (once) {
  history.replaceState(null, "", location.pathname);
  try {
    const answer = await json("/v1/acl/token/onetime/exchange",
      { method: "PUT", body: JSON.stringify({ OneTimeSecretID: once }) });
    sessionStorage.setItem("token", answer.Token.SecretID);
  } catch (error) {
    problem = error;
  }
}
go();
if (problem) told(problem);
