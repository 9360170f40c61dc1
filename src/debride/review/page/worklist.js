// The worklist: filters, a page of items, and which one is chosen.
import { ask } from "./api.js";
import { $, button, made, option, redraw, text } from "./elements.js";

const MANY = 50, UNSET = { view: "findings", confidence: "0" };
export const STATES = { "": "all", undecided: "undecided by me", decided: "decided by me", disagreed: "in conflict", unsure: "unsure" };
export const MEANINGS = {
  confidence: "how sure it is that the label is wrong in this place: of a case that is probably wrong it may be little",
  severity: "how much of the object it concerns",
  wrong: "how probable it is that anything in this label is wrong: cases are in this order",
};
export const WORDS = { accept: "accepted", reject: "rejected", unsure: "unsure", edited: "edited", verified: "verified", conflict: "in conflict" };
export const MASK = /^[0-9a-f]{16,}$/;  // what is edited: the hash of a mask, or else the name of a class
const MARKS = { accept: "✓", reject: "✗", unsure: "?", edited: "✎", verified: "✓✓", conflict: "⚡", sending: "…" };

export class Worklist {
  constructor(about, { choose, changed, waits }) {
    Object.assign(this, { about, choose, changed, waits, items: [], after: 0, starts: [], chosen: null, images: new Map() });
    this.form = $("filters");
    this.fill();
    this.read();
    this.form.addEventListener("submit", event => event.preventDefault());
    this.form.addEventListener("input", () => {
      clearTimeout(this.soon);
      this.soon = setTimeout(() => this.filter(), 150);
    });
    $("later").addEventListener("click", () => this.turn(this.next));
    $("earlier").addEventListener("click", () => this.back());
    $("items").addEventListener("click", event => {
      const line = event.target.closest("button");
      if (line) this.choose(Number(line.dataset.place));
    });
  }

  fill() {
    const { about, form } = this, { view, state, kind, class: owner } = form.elements;
    const views = { findings: "findings", cases: about.task === "classification" ? "images" : "cases", ...(about.chosen ? { chosen: "chosen cases" } : {}) };
    for (const [value, name] of Object.entries(views)) view.append(option(value, name));
    for (const [value, name] of Object.entries(STATES)) if (!(about.blind && value === "disagreed")) state.append(option(value, name));
    kind.append(option("", "all"), ...about.kinds.map(name => option(name, name)));
    const classes = about.regions?.length ? about.regions : about.classes.filter(each => about.task === "classification" || each.id > 0).map(each => each.name);
    owner.append(option("", "all"), ...classes.map(name => option(name, name)));
    for (const [name, values] of Object.entries(about.groups ?? {})) {
      if (!values?.length) continue;
      const choice = made("select", [option("", "all"), ...values.map(value => option(value, value))]);
      choice.name = name;
      form.append(made("label", [name[0].toUpperCase() + name.slice(1), choice]));
    }
  }

  get filters() { return Object.fromEntries([...new FormData(this.form)].map(([name, value]) => [name, name === "confidence" && value === "0" ? "" : value])); }

  // The filters stay in the address, behind its token.
  read() {
    const set = new URLSearchParams(location.hash.slice(1));
    if (this.about.adjudicate && !set.has("state")) set.set("state", "disagreed");
    if (this.about.chosen && !set.has("view")) set.set("view", "chosen");
    for (const field of this.form.elements) if (field.name && set.has(field.name)) field.value = set.get(field.name);
    this.start = Number(set.get("place")) || null;
    this.least();
  }

  write() {
    const set = Object.entries({ ...this.filters, place: this.chosen ?? "" }).filter(([name, value]) => value !== "" && value !== UNSET[name]);
    if (this.about.adjudicate && !this.filters.state) set.push(["state", ""]);
    if (this.about.chosen && this.filters.view === "findings") set.push(["view", "findings"]);
    history.replaceState(null, "", `#${new URLSearchParams(set)}`);
  }

  least() { text("least", Number(this.form.elements.confidence.value)); }

  async filter() {
    this.least();
    this.starts = [];
    await this.turn(0);
    this.write();
    this.changed();
  }

  back() { this.turn(this.starts.pop() ?? 0, true); }

  async turn(after, back = false) {
    if (after === null || after === undefined) return;
    if (!back && after !== 0 && after !== this.after) this.starts.push(this.after);
    this.after = after;
    const asked = this.asked = Symbol(after), page = await ask("api/items", { ...this.filters, after, many: MANY });
    if (this.asked !== asked) return;  // other filters were set meanwhile
    this.images.clear();
    Object.assign(this, { items: page.items, total: page.total, next: page.next });
    this.draw();
  }

  // Shows that an item is the one in the viewer, on its page.
  async mark(place) {
    this.chosen = place;
    this.write();
    if (!this.items.some(item => item.place === place)) {
      const { items } = await ask("api/items", { ...this.filters, after: place - 1, many: 1 });
      if (items[0]?.place === place) {
        await this.turn(place - 1);
        return;
      }
    }
    this.draw();
  }

  update(item) {
    const at = this.items.findIndex(each => each.place === item.place);
    if (at >= 0) this.items[at] = item;
    this.draw();
  }

  draw() {
    redraw($("items"), this.items.map(item => this.line(item)), line => line.dataset.place);
    text("total", this.total === 1 ? "1 in this list" : `${this.total} in this list`);
    $("pages").hidden = !this.starts.length && this.next === null && !this.after;
    $("earlier").disabled = !this.starts.length && !this.after;
    $("later").disabled = this.next === null;
    const shown = $("items").querySelector("[aria-current]");
    if (shown) keepInView($("items"), shown.parentNode);
  }

  // Each is read once, and moves from one drawing of the list to the next.
  thumbnail(place) {
    if (!this.images.has(place)) {
      const image = document.createElement("img");
      Object.assign(image, { loading: "lazy", src: `api/items/${place}/picture.png`, alt: "", width: 112, height: 112 });
      this.images.set(place, image);
    }
    return this.images.get(place);
  }

  line(item) {
    const line = button("", ""), { word, said } = stateOf(item, this.waits(item.place));
    line.dataset.place = item.place;
    if (item.place === this.chosen) line.setAttribute("aria-current", "true");
    if (this.about.task === "classification") {
      line.append(this.thumbnail(item.place));
    }
    const what = item.number ? [made("b", item.kind, "kind"), ` ${nameOf(item, this.about)}`] : [made("b", "label", "kind whole"), item.proposed && item.proposed !== item.given ? ` ${item.given}` : ""];
    const sure = item.number && item.confidence !== null ? `${Math.round(100 * item.confidence)} % sure` : item.wrong !== null && item.wrong !== undefined ? `wrong: ${Math.round(100 * item.wrong)} %` : "";
    const said_sure = made("span", sure, "soft sure");
    said_sure.title = !sure ? "" : item.number && item.confidence !== null ? MEANINGS.confidence : MEANINGS.wrong;
    line.append(made("span", what, "what"), said_sure, made("span", [item.case + (item.number > 1 ? ` #${item.number}` : "")], "case"),
      made("span", word ? [`${MARKS[word] ?? ""} `, said] : "", `state ${word}`));
    return made("li", line);
  }
}

export function nameOf(item, about) { return about.task === "classification" ? `${item.given} → ${item.proposed ?? "?"}` : item.class ?? ""; }

// The one word of an item's state, and how it is said: my own decision first.
export function stateOf(item, waits) {
  if (waits) return { word: "sending", said: "not saved yet" };
  if (item.state === "conflict") return { word: "conflict", said: item.mine ? `conflict, mine ${WORDS[item.mine.decision]}` : WORDS.conflict };
  if (item.mine) {
    const { decision, label } = item.mine, named = decision === "edited" && label && !MASK.test(label);
    return { word: decision, said: WORDS[decision] + (named ? `: ${label}` : "") };
  }
  return item.state ? { word: item.state, said: `${WORDS[item.state]} by others` } : { word: "", said: "" };
}

function keepInView(list, line) {
  const top = line.offsetTop - list.offsetTop;
  if (top < list.scrollTop || top + line.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 3;
}
