"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const PAGE = 60, SPARE = 20, FEW = 200;  // cards of a page; rows of the ranking drawn above and below what is seen; so many are all drawn

// The ranking: of its rows only those in view are in the page.
const table = { rows: data.cases.flagged.map((_, row) => row), height: 32 };
const name = row => data.cases.cells[0][row][1];
function drawRows() {
  const box = $("rows").closest(".ranking"), few = data.cases.flagged.length <= FEW;  // few rows may be of any height
  const seen = few ? table.rows.length : Math.ceil((box.clientHeight || 400) / table.height);
  box.classList.toggle("few", few);
  const start = Math.max(0, Math.min(Math.floor(box.scrollTop / table.height), table.rows.length - seen) - SPARE);
  const stop = Math.min(table.rows.length, start + seen + 2 * SPARE);
  if (table.start === start && table.stop === stop) return;
  Object.assign(table, { start, stop });
  const space = rows => {
    const line = document.createElement("tr");
    line.append(document.createElement("td"));
    line.className = "space";
    line.style.height = `${rows * table.height}px`;
    return line;
  };
  const lines = table.rows.slice(start, stop).map((row, at) => {
    const line = document.createElement("tr"), first = data.cases.first[row];
    if (data.cases.flagged[row]) line.className = "flagged";
    line.setAttribute("aria-rowindex", start + at + 2);
    line.append(...data.cases.cells.map((column, place) => {
      const cell = document.createElement("td"), text = column[row][1];
      if (data.columns[place].words) Object.assign(cell, { className: "words", title: few ? "" : text });
      if (place || first < 0) cell.textContent = text;
      else cell.append(Object.assign(document.createElement("a"), { href: `#f${first}`, textContent: text }));
      return cell;
    }));
    return line;
  });
  $("rows").replaceChildren(space(start), ...lines, space(table.rows.length - stop));
  if (lines.length) table.height = lines[0].getBoundingClientRect().height || table.height;
}
function listRows() {
  const text = $("name").value.trim().toLowerCase(), flagged = $("flagged").checked, { column = 1, up = false } = table;
  const by = row => data.cases.cells[column][row][0], words = data.columns[column].words;
  const compare = words ? new Intl.Collator(undefined, { numeric: true }).compare : (a, b) => a - b;
  table.rows = data.cases.flagged.map((_, row) => row)
    .filter(row => (!flagged || data.cases.flagged[row]) && name(row).toLowerCase().includes(text))
    .sort((a, b) => table.sorted ? (up ? 1 : -1) * compare(by(a), by(b)) : a - b);
  table.start = undefined;
  $("listed").textContent = `${table.rows.length} of ${data.cases.flagged.length} cases`;
  $("rows").closest("table").setAttribute("aria-rowcount", table.rows.length + 1);
  drawRows();
}
function sort(head) {
  const sorted = head.getAttribute("aria-sort"), column = head.cellIndex;
  Object.assign(table, { sorted: true, column, up: sorted ? sorted === "descending" : data.columns[column].words });
  head.parentNode.querySelectorAll("th").forEach(each => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", table.up ? "ascending" : "descending");
  listRows();
}

// The findings: a page of those that pass the filters is drawn. Decisions are by place in the list, drawn or not.
const filters = ["kind", "class", "confidence", "case"], unset = id => id === "confidence" ? "0" : "";
const store = "debride-audit-" + data.key;
let decisions = {}, passing = [], page = 0, before = null;
try { decisions = JSON.parse(localStorage.getItem(store)) || {}; } catch { /* a browser may refuse to keep anything */ }
Object.keys(decisions).filter(i => !data.findings[i]).forEach(i => delete decisions[i]);

function filter(to = 0) {
  const kind = $("kind").value, owner = $("class").value, least = Number($("confidence").value);
  const text = $("case").value.trim().toLowerCase();
  passing = [];
  data.findings.forEach((found, i) => {
    if ((!kind || found.kind === kind) && (!owner || String(found.class) === owner) && found.confidence >= least
      && name(found.case).toLowerCase().includes(text)) passing.push(i);
  });
  page = Math.max(0, Math.min(to, Math.ceil(passing.length / PAGE) - 1));
  drawCards();
}
function drawCards() {
  const shown = passing.slice(page * PAGE, (page + 1) * PAGE), pages = Math.ceil(passing.length / PAGE), many = passing.length;
  $("cards").replaceChildren(...shown.map(card));
  $("least").textContent = Number($("confidence").value);
  $("shown").textContent = `${many} of ${data.findings.length} pass`;
  document.querySelectorAll("[data-all] span").forEach(each => { each.textContent = many; });
  $("nothing").hidden = many > 0;
  $("pages").hidden = pages < 2;
  $("place").textContent = `${page * PAGE + 1} to ${page * PAGE + shown.length} of ${many}`;
  $("previous").disabled = !page;
  $("next").disabled = page >= pages - 1;
}
function card(i) {
  const found = data.findings[i], drawn = $("card").content.firstElementChild.cloneNode(true), picture = $(`p${i}`);
  const texts = { ...found, case: name(found.case), name: data.classes[found.class] };
  drawn.id = `f${i}`;
  drawn.setAttribute("aria-label", `${found.kind}, ${texts.name}, ${texts.case}`);
  drawn.querySelectorAll("[data-text]").forEach(each => { each.textContent = texts[each.dataset.text]; });
  drawn.querySelectorAll("[data-if]").forEach(each => { if (!texts[each.dataset.if]) each.remove(); });
  const image = drawn.querySelector("img");
  if (picture) {
    image.alt = `Case ${texts.case}, finding ${found.number}: ${image.alt}`;
    image.src = `data:image/png;base64,${picture.textContent}`;
    drawn.querySelector(".none").remove();
  } else image.remove();
  drawn.querySelectorAll("input").forEach(box => box.addEventListener("change", () => {
    decide(i, box.checked ? box.value : "");
    save();
  }));
  mark(drawn, decisions[i]);
  return drawn;
}
function mark(drawn, decision) {
  drawn.classList.toggle("accept", decision === "accept");
  drawn.classList.toggle("reject", decision === "reject");
  drawn.querySelectorAll("input").forEach(box => { box.checked = box.value === decision; });
}
function decide(i, decision) {
  if (decision) decisions[i] = decision; else delete decisions[i];
  if ($(`f${i}`)) mark($(`f${i}`), decision);
}
function save() {
  const count = Object.keys(decisions).length;
  $("decided").textContent = count;
  $("download").disabled = !count;
  $("undo").disabled = !before;
  try { localStorage.setItem(store, JSON.stringify(decisions)); } catch { /* as above */ }
}
function remember() {
  const set = filters.map(id => [id, $(id).value]).filter(([id, value]) => value !== unset(id));
  if (page) set.push(["page", page + 1]);
  history.replaceState(null, "", "#" + new URLSearchParams(set));
}
function read() {
  const one = location.hash.match(/^#f(\d+)$/);
  if (one && data.findings[one[1]]) return show(Number(one[1]));
  const set = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  if (location.hash.includes("=")) filters.forEach(id => { $(id).value = set.get(id) ?? unset(id); });
  filter(Number(set.get("page") || 1) - 1);
}
function show(i) {
  if (!passing.includes(i)) {
    filters.forEach(id => { $(id).value = unset(id); });
    filter();
  }
  turn(Math.floor(passing.indexOf(i) / PAGE));
  $(`f${i}`).focus({ preventScroll: true });
  $(`f${i}`).scrollIntoView({ block: "start" });
}
function turn(to) {
  if (to !== page) {
    page = to;
    drawCards();
  }
  remember();
}
function download() {
  const number = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;  // as debride.escapes has it: no cell is a formula
  const shielded = text => /^'*[=+\-@\t\r\n＝＋－＠]/.test(text) && !number.test(text) ? `'${text}` : text;
  const quoted = text => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const region = data.region ? `${quoted(shielded(data.region))},` : "", heading = data.region ? "region," : "";
  const line = ([i, decision]) => `${region}${quoted(shielded(name(data.findings[i].case)))},${data.findings[i].number},${decision}\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${heading}case,number,decision\n`, ...Object.entries(decisions).map(line)], { type: "text/csv" }));
  link.download = "decisions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function press(event) {
  const target = document.activeElement;
  if (event.ctrlKey || event.altKey || event.metaKey || target.matches("select, input:not([type=checkbox])")) return;
  const drawn = target.closest("article"), i = drawn ? Number(drawn.id.slice(1)) : -1;
  const at = drawn ? passing.indexOf(i) : page * PAGE - 1;
  const next = { j: at + 1, k: at - 1 }[event.key], decision = { a: "accept", r: "reject" }[event.key];
  if (next in passing) show(passing[next]);
  else if (decision && drawn) {
    decide(i, decisions[i] === decision ? "" : decision);
    save();
  }
}

if (data.cases.flagged.length) {
  document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => sort(button.closest("th"))));
  $("rows").closest(".ranking").addEventListener("scroll", drawRows, { passive: true });
  $("rows").addEventListener("click", event => {
    if (!event.target.matches("a")) return;
    event.preventDefault();
    show(Number(event.target.hash.slice(2)));
  });
  $("narrow").addEventListener("submit", event => event.preventDefault());
  $("narrow").addEventListener("input", listRows);
  addEventListener("resize", drawRows);
  listRows();
}
if (data.findings.length) {
  $("filters").addEventListener("submit", event => event.preventDefault());
  $("filters").addEventListener("input", () => { filter(); remember(); });
  document.querySelectorAll("[data-all]").forEach(button => button.addEventListener("click", () => {
    before = { ...decisions };
    passing.forEach(i => decide(i, button.dataset.all));
    save();
  }));
  $("undo").addEventListener("click", () => {
    [decisions, before] = [before, null];
    drawCards();
    save();
  });
  $("previous").addEventListener("click", () => show(passing[(page - 1) * PAGE]));
  $("next").addEventListener("click", () => show(passing[(page + 1) * PAGE]));
  $("download").addEventListener("click", download);
  addEventListener("hashchange", read);
  document.addEventListener("keydown", press);
  read();
  save();
}
