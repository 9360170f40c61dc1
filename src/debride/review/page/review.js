// The page of reviews: what is chosen, what is decided, and what the keys do.
import { Outbox, ask } from "./api.js";
import { $, text } from "./elements.js";
import { Keys } from "./keys.js";
import { forget } from "./parts.js";
import { LAYERS } from "./overlay.js";
import { Stage } from "./stage.js";
import { WORDS, Worklist } from "./worklist.js";
import { Classes } from "./classes.js";
import { drawAgreement, drawOthers } from "./adjudicate.js";
import { drawButtons, drawCounts, drawFacts } from "./facts.js";

const say = words => text("saved", words);
addEventListener("unhandledrejection", event => say(event.reason?.message ?? event.reason));

const about = await ask("api/about"), classified = about.task === "classification";
const drafts = new Map(), undone = [];
let item = null, moving = null;

const outbox = new Outbox({ changed: drawOutbox, refused: (wish, error) => {
  say(`Not saved: ${error.message}`);
  refresh(wish.place);
} });
const worklist = new Worklist(about, { choose: go, changed: first, waits: place => outbox.waits(place) });
const stage = classified ? null : new Stage(about, say);
const classes = classified ? new Classes(about, decide) : null;

function drawOutbox() {
  $("banner").hidden = !outbox.lost;
  const many = outbox.wishes.length;
  $("banner").firstElementChild.textContent = outbox.lost ? `${outbox.lost} ${many} ${many === 1 ? "decision is" : "decisions are"} not saved yet and will be sent again.` : "";
  document.body.dataset.waiting = many;
  worklist.draw();
  if (item) drawButtons(item, outbox.waits(item.place));
}

// Goes to an item; where another is asked for meanwhile, that one is shown.
async function go(place) {
  if (!place) return say("There is nothing more in this list");
  if (place === item?.place && !moving && stage?.data) return null;  // it is in view
  if (stage?.dirty) return say("Save the edit (s) or leave it (Esc) first");
  stage?.stopEdit();
  keepDraft();
  const asked = moving = Symbol(place);
  try {
    const told = await ask(`api/items/${place}`, worklist.filters);
    if (moving !== asked) return;
    stage?.stopEdit();
    item = told;
    drawItem();
    worklist.mark(place);
    stage?.show(item).then(() => { if (moving === null && item === told) stage.ahead(item.neighbours?.next_undecided ?? item.neighbours?.next); });
  } catch (error) {
    say(error.message);
  } finally {
    if (moving === asked) moving = null;
  }
}

function drawItem() {
  drawFacts(item, about);
  drawButtons(item, outbox.waits(item.place));
  drawOthers(item, about);
  classes?.draw(item);
  $("comment").value = drafts.get(item.place) ?? item.mine?.comment ?? "";
  document.body.dataset.place = item.place;
}

function keepDraft() {
  if (item && $("comment").value !== (item.mine?.comment ?? "")) drafts.set(item.place, $("comment").value);
}

// What the server says after a decision.
function acknowledged(place, told, words) {
  if (told.counts) drawCounts(told.counts, about);
  worklist.update(told.item);
  if (item?.place === place) {
    item = { ...told.item, neighbours: item.neighbours };
    drawFacts(item, about);
    drawOthers(item, about);
    classes?.draw(item);
    drawButtons(item, outbox.waits(place));
  }
  say(`${words}: ${told.item.case}${told.item.number ? `, finding ${told.item.number}` : ""}. Saved.`);
  if (about.adjudicate) drawAgreement().catch(() => {});
}

async function refresh(place) {
  try {
    const told = await ask(`api/items/${place}`, worklist.filters);
    worklist.update(told);
    if (item?.place === place) {
      item = told;
      drawItem();
    }
  } catch { /* the next look at it tells */ }
}

function send(target, decision, label, onward) {
  const comment = (target === item ? $("comment").value : drafts.get(target.place) ?? target.mine?.comment ?? "").trim(), { place } = target;
  drafts.delete(place);
  outbox.decide(place, { decision, comment, ...(label ? { label } : {}) }, told => acknowledged(place, told, WORDS[decision] ? capital(WORDS[decision]) : "Taken back"));
  if (onward) go(target.neighbours?.next_undecided ?? null);
}

const seen = () => classified ? $("thumb").complete : stage.seen;

function decide(decision, label = "") {
  if (!item || moving) return;
  if (!seen()) return say("The image is not there yet");
  if (stage?.dirty) return say("Save the edit (s) or leave it (Esc) first");
  undone.push({ place: item.place, mine: item.mine });
  $("undo").disabled = false;
  send(item, decision, label, true);
}

// The label as a whole, from one of its findings too.
async function verify() {
  if (!item || moving) return;
  if (!seen()) return say("The image is not there yet");
  if (stage?.dirty) return say("Save the edit (s) or leave it (Esc) first");
  if (!item.number) return decide("verified");
  if (classified) return decide("reject");
  const from = item, written = $("comment").value, fresh = written !== (item.mine?.comment ?? "");
  const whole = await ask(`api/items/${from.whole}`);
  if (fresh) drafts.set(whole.place, written);
  undone.push({ place: whole.place, mine: whole.mine });
  $("undo").disabled = false;
  send(whole, "verified", "", false);
  if (item.place === from.place && !moving) go(item.neighbours?.next_undecided ?? null);
}

// Takes the last decision back: what was decided before stands again.
async function undo() {
  if (stage?.editing) return stage.undoStroke();
  const last = undone.pop();
  $("undo").disabled = !undone.length;
  if (!last) return say("Nothing more to undo");
  const { place, mine } = last;
  outbox.decide(place, mine ? { decision: mine.decision, comment: mine.comment, label: mine.label } : { decision: "withdrawn", comment: "" },
    told => {
      forget(place);
      acknowledged(place, told, "Taken back");
      if (item?.place === place) stage?.show(item);
    });
  if (item?.place !== place || moving) go(place);
}

function edit() {
  if (moving || !seen()) return say("The image is not there yet");
  stage.startEdit();
}

function saveEdit() {
  if (!stage?.editing) return;
  if (!stage.dirty) return say("Nothing is painted yet");
  const { place, part } = stage.data, labels = stage.takeEdit();
  undone.push({ place, mine: item.mine });
  $("undo").disabled = false;
  outbox.edit(place, part, $("comment").value.trim(), labels, told => {
    forget(place);
    acknowledged(place, told, "Edited");
    if (item?.place === place) stage.show(item);
  });
}

// A comment on what is decided already is saved when it is left.
$("comment").addEventListener("blur", () => {
  if (item?.mine && $("comment").value.trim() !== (item.mine.comment ?? "")) send(item, item.mine.decision, item.mine.label, false);
});
$("comment").addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    $("comment").blur();
  }
});
addEventListener("beforeunload", event => { if (stage?.dirty) event.preventDefault(); });
$("again").addEventListener("click", () => outbox.hurry());
$("keyhelp").addEventListener("click", () => $("help").showModal());

async function first() {
  drawCounts(await ask("api/counts", worklist.filters), about);
  if (!worklist.items.length) return say("Nothing passes these filters");
  if (!worklist.items.some(each => each.place === item?.place)) await go(worklist.items.find(each => !each.mine)?.place ?? worklist.items[0].place);
}

function capital(word) { return word[0].toUpperCase() + word.slice(1); }

const volume = () => Boolean(stage?.data?.volume), drawn = () => Boolean(stage?.data), editing = () => Boolean(stage?.editing);
const slices = by => ({ when: volume, act: () => stage.volume.step(by) });
const keys = new Keys([
  { keys: ["a"], once: true, text: "accept what is proposed", when: () => Boolean(item?.number), act: () => decide("accept") },
  { keys: ["r"], once: true, text: "reject it: the label stays as it is given", when: () => Boolean(item?.number), act: () => decide("reject") },
  { keys: ["u"], once: true, text: "unsure", act: () => decide("unsure") },
  { keys: ["v"], once: true, text: classified ? "the given class is right" : "the whole label is right, beside what is decided of its findings", act: verify },
  { keys: ["j", "n"], text: "next", act: () => go(item?.neighbours?.next) },
  { keys: ["k", "p"], text: "previous", act: () => go(item?.neighbours?.previous) },
  { keys: ["z"], once: true, text: "undo the last stroke while editing, else the last decision", act: undo },
  { keys: ["c"], text: "write a comment; Enter or Esc leaves it", act: () => $("comment").focus() },
  ...(classified ? [
    { keys: [..."123456789"], shown: ["1", "9"], once: true, text: "give the class of that number", act: key => classes.digit(key) },
    { keys: ["/"], text: "find a class by its name", act: () => classes.search() },
  ] : [
    { keys: [..."123456789"], shown: ["1", "4"], text: `outlines of ${LAYERS.map(layer => layer.name).join(", ")}; further numbers are others' edits`, act: key => stage.toggleKey(key) },
    { keys: ["]", "ArrowUp"], text: "next slice; the wheel turns the slices under the pointer", ...slices(1) },
    { keys: ["[", "ArrowDown"], text: "previous slice", ...slices(-1) },
    { keys: ["w"], text: "the whole image, or the place of the finding", act: () => stage.toggleWhole() },
    { keys: ["o"], text: "one plane, or three", when: volume, act: () => stage.togglePlane() },
    { keys: ["d"], text: "3D", when: volume, act: () => stage.toggleSolid() },
    { keys: ["h"], text: "back to the finding", when: drawn, act: () => stage.home() },
    { keys: ["e"], text: "edit the label; again to leave", when: drawn, act: () => editing() ? stage.leaveEdit() : edit() },
    { keys: ["s"], text: "save the edit", when: editing, act: saveEdit },
    { keys: ["+", "="], shown: ["+"], text: "larger brush", when: editing, act: () => stage.resize(1) },
    { keys: ["-"], text: "smaller brush", when: editing, act: () => stage.resize(-1) },
    { keys: ["x"], text: "eraser or brush", when: editing, act: () => stage.erase() },
    { keys: ["g"], text: "next class to paint", when: editing, act: () => stage.nextClass() },
    { keys: ["Escape"], text: "leave the edit", when: editing, act: () => stage.leaveEdit() },
  ]),
  { keys: ["?"], text: "this list", act: () => $("help").showModal() },
]);

document.body.classList.toggle("classified", classified);
text("mode", `${about.round > 1 ? `, round ${about.round}` : ""}${about.adjudicate ? ", adjudicating" : ""}${about.blind ? ", blind" : ""}`);
keys.list($("keys"));
await worklist.turn(0);
if (about.adjudicate) drawAgreement().catch(error => say(error.message));
if (worklist.start) await go(worklist.start);
if (item) drawCounts(await ask("api/counts", worklist.filters), about);
else await first();
drawOutbox();
document.body.dataset.ready = "yes";
