// The simulator's page. Values from the company only ever become text nodes; requests are JSON of this origin.
"use strict";

const POLL_MS = 1000, PUSHES = 40, PEOPLE = 400;
const ZH = {
  "Simulated DingTalk": "模拟钉钉", Company: "公司", Hire: "入职", "New department": "新建部门",
  "Ask for approval": "发起审批", Rate: "速率", "Burst of 100": "突发 100 个事件",
  "Running approvals": "进行中的审批", Pushes: "推送", State: "状态", Answers: "应答",
  "Faults of the Open API": "接口故障", Ban: "封禁", "Address denied": "IP 不在白名单", "Clear all": "全部清除",
  "move to …": "调往 …", Dismiss: "离职", Approve: "同意", Refuse: "拒绝", Revoke: "撤销",
  "no callback is registered": "尚未注册回调", pushed: "已推送", answered: "已应答", connections: "连接", lost: "丢失", pending: "待处理",
  "given up": "已放弃", "failed list": "推送失败列表", "API calls": "接口调用", people: "人数", departments: "部门",
  none: "无", "more: narrow the search": "更多，请缩小搜索范围",
};
const chinese = navigator.language.toLowerCase().startsWith("zh");
const t = (words) => (chinese && ZH[words]) || words;
const byId = (id) => document.getElementById(id);

function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

function complain(words) {
  byId("trouble").textContent = words;
  byId("trouble").hidden = !words;
}

async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (method !== "GET") {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body ?? {});
  }
  const answer = await (await fetch(path, options)).json();
  if (answer.error) throw new Error(answer.error);
  return answer;
}

async function send(path, body, method = "POST") {
  try {
    await ask(method, path, body);
    complain("");
  } catch (error) {
    complain(error.message);
  }
  await look(true);
}

const act = (action, more = {}) => send("act", { action, ...more });
const button = (words, onclick) => el("button", { type: "button", textContent: t(words), onclick });

function person(user, departments) {
  const choice = el("select", { ariaLabel: t("move to …") }, el("option", { value: "" }, t("move to …")));
  for (const dept of departments) choice.append(el("option", { value: dept.dept_id }, dept.name));
  choice.onchange = () => act("move", { userid: user.userid, dept_ids: [Number(choice.value)] });
  const marks = (user.leader_in_dept.some((item) => item.leader) ? " ★" : "") + (user.admin ? " ⚙" : "");
  const roles = (user.role_list ?? []).map((role) => role.name).join("、");
  return el("tr", {},
    el("td", {}, user.name + marks, " ", el("span", { className: "id" }, user.userid)),
    el("td", {}, [user.title, roles].filter(Boolean).join(" · ")),
    el("td", { className: "actions" }, choice, " ", button("Dismiss", () => act("leave", { userid: user.userid }))));
}

function showCompany(state) {
  const open = new Set([...byId("company").querySelectorAll("details[open]")].map((d) => d.dataset.id));
  const first = byId("company").childElementCount === 0;
  const wanted = byId("filter").value.trim().toLowerCase();
  const children = new Map();
  for (const dept of state.departments) {
    const key = dept.parent_id ?? 0;
    children.set(key, [...(children.get(key) ?? []), dept]);
  }
  let shown = 0;
  const draw = (dept, inherited) => {
    const whole = inherited || (wanted && dept.name.toLowerCase().includes(wanted));
    const people = state.users.filter((user) => user.dept_id_list.includes(dept.dept_id)
      && (!wanted || whole || `${user.name} ${user.userid}`.toLowerCase().includes(wanted)));
    const below = (children.get(dept.dept_id) ?? []).map((child) => draw(child, whole)).filter(Boolean);
    if (wanted && !whole && !people.length && !below.length) return null;
    const rows = people.slice(0, Math.max(0, PEOPLE - shown)).map((user) => person(user, state.departments));
    shown += rows.length;
    if (rows.length < people.length) {
      rows.push(el("tr", {}, el("td", {}, `+ ${people.length - rows.length} ${t("more: narrow the search")}`)));
    }
    const box = el("details", { open: Boolean(wanted) || open.has(String(dept.dept_id)) || (first && !dept.parent_id) },
      el("summary", {}, dept.name, " ", el("span", { className: "id" }, `${dept.dept_id} · ${people.length}`)),
      el("table", {}, el("tbody", {}, ...rows)), ...below);
    box.dataset.id = dept.dept_id;
    return box;
  };
  byId("company").replaceChildren(...(children.get(0) ?? []).map((root) => draw(root, false)).filter(Boolean));
}

function showApprovals(state) {
  const running = state.approvals.filter((approval) => approval.status === "RUNNING").slice(-12).reverse();
  const rows = running.map((approval) => {
    const which = { process_instance_id: approval.process_instance_id };
    return el("tr", {}, el("td", {}, approval.title, " ", el("span", { className: "id" }, approval.businessId)),
      el("td", { className: "actions" }, ...["Approve", "Refuse", "Revoke"].flatMap((words) =>
        [button(words, () => act(words.toLowerCase(), which)), " "])));
  });
  byId("approvals").replaceChildren(...(rows.length ? rows : [el("tr", {}, el("td", {}, t("none")))]));
}

function showPushes(pushes) {
  const open = new Set([...byId("pushes").querySelectorAll("details[open]")].map((d) => d.dataset.id));
  byId("pushes").replaceChildren(...pushes.reverse().map((push) => {
    const answers = push.attempts.map((a) => `${a.outcome} ${a.latency_ms} ms`).join(", ");
    const box = el("details", { open: open.has(String(push.id)) },
      el("summary", {}, push.event_type), el("pre", {}, push.plaintext));
    box.dataset.id = push.id;
    return el("tr", {}, el("td", {}, push.id), el("td", {}, box),
      el("td", { className: push.state }, push.state), el("td", {}, answers));
  }));
}

function showFigures(stats) {
  const calls = Object.values(stats.api_calls).reduce((sum, count) => sum + count, 0);
  const figures = {
    people: stats.users, departments: stats.departments, pushed: stats.pushed, answered: stats.answered,
    pending: stats.pending, "given up": stats.failed, "failed list": stats.failed_list, "API calls": calls,
  };
  if (stats.mode === "stream") Object.assign(figures, { connections: stats.connections, lost: stats.lost });
  byId("figures").replaceChildren(...Object.entries(figures).map(([words, value]) =>
    el("div", {}, el("b", {}, value), t(words))));
  if (document.activeElement !== byId("rate")) byId("rate").value = stats.rate;
}

let state = null, seen = "", looking = false;

async function look(again = false) {
  if (looking) return;
  looking = true;
  try {
    const stats = await ask("GET", "stats");
    showFigures(stats);
    showPushes((await ask("GET", `pushes?since=${Math.max(0, stats.pushed - PUSHES)}`)).pushes);
    const faults = (await ask("GET", "faults")).faults.filter((fault) => fault.times !== 0);
    byId("there").textContent = faults.map((fault) =>
      [fault.kind, fault.errcode ?? fault.status, `(${fault.hits}×)`].filter(Boolean).join(" ")).join(", ");
    // a choice that somebody is making must not be taken from under his hands
    const busy = document.activeElement instanceof HTMLSelectElement;
    const now = `${stats.recorded} ${stats.registered} ${stats.mode}`;
    if ((now !== seen && !busy) || again) {
      state = await ask("GET", "state");
      seen = now;
      byId("corp").textContent = state.corp_id;
      const callback = state.callback ? state.callback.url : t("no callback is registered");
      byId("callback").textContent = stats.mode === "stream" ? "Stream" : callback;
      showCompany(state);
      showApprovals(state);
    }
  } catch (error) {
    complain(error.message);
  } finally {
    looking = false;
  }
}

for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.textContent);
if (chinese) document.documentElement.lang = "zh-CN";
byId("acts").onsubmit = byId("faults").onsubmit = (event) => event.preventDefault();
for (const b of document.querySelectorAll("[data-act]")) b.onclick = () => act(b.dataset.act);
for (const b of document.querySelectorAll("[data-fault]")) b.onclick = () => send("faults", JSON.parse(b.dataset.fault));
byId("clear").onclick = () => send("faults", undefined, "DELETE");
byId("burst").onclick = () => send("burst", { events: 100 });
byId("rate").onchange = () => send("rate", { per_second: Number(byId("rate").value) });
byId("filter").oninput = () => state && showCompany(state);
look(true);
setInterval(() => document.hidden || look(), POLL_MS);
