// What is known of an item, and the buttons to decide it.
import { $, button, made, redraw, text } from "./elements.js";
import { MASK, MEANINGS, WORDS, nameOf } from "./worklist.js";

const SHARES = { confidence: "confidence", severity: "severity", wrong: "label wrong" };
const BUTTONS = { accept: ["a", "Accept", "yes"], reject: ["r", "Reject", "no"], unsure: ["u", "Unsure", ""], verified: ["v", "Verified", "yes"] };

function meant(heading, said) {
  const share = Object.keys(SHARES).find(each => SHARES[each] === said);
  if (share) heading.title = MEANINGS[share];
  return heading;
}

export function drawFacts(item, about) {
  const name = item.number ? [made("b", item.kind, "kind"), ` ${nameOf(item, about)}`] : [made("b", "label as a whole", "kind whole")];
  $("name").replaceChildren(...name);
  const lines = { case: item.case + (item.number ? `, finding ${item.number}` : ""), patient: item.patient, region: item.region,
    given: item.given, predicted: item.predicted, proposed: item.proposed, change: item.change, size: item.size, distance: item.distance };
  for (const [key, said] of Object.entries(SHARES)) if (Number.isFinite(item[key]) && (item.number || key === "wrong")) lines[said] = `${Math.round(100 * item[key])} %`;
  for (const [key, value] of Object.entries(item.groups ?? {})) lines[key] = value;
  if (item.flagged) lines.flagged = "yes";
  $("facts").replaceChildren(...Object.entries(lines).filter(([, value]) => value !== null && value !== undefined && value !== "")
    .flatMap(([key, value]) => [meant(made("dt", key), key), made("dd", String(value))]));
  const classes = about.task === "classification";
  $("thumb").hidden = !classes;
  if (classes && $("thumb").dataset.place !== String(item.place)) Object.assign($("thumb"), { src: `api/items/${item.place}/picture.png`, alt: `Image ${item.case}` });
  $("thumb").dataset.place = item.place;
  drawButtons(item);
}

export function drawButtons(item, waits) {
  const classes = document.body.classList.contains("classified");
  const words = !item.number ? ["verified", "unsure"] : classes ? ["accept", "reject", "unsure"] : ["accept", "reject", "unsure", "verified"];
  const buttons = words.map(word => {
    const [key, name, kind] = BUTTONS[word], chosen = button(key, word === "verified" && item.number ? "Whole label right" : name);
    chosen.className = kind;
    if (word !== "verified" || !item.number) chosen.setAttribute("aria-pressed", item.mine?.decision === word);
    return chosen;
  });
  redraw($("decide"), buttons, each => each.dataset.key);
  const mine = item.mine;
  if (mine?.decision === "edited") $("decide").append(made("span", `${WORDS.edited}${MASK.test(mine.label) ? "" : `: ${mine.label}`}`, "state edited"));
  $("hint").hidden = Boolean(item.number);
  if (waits) $("decide").append(made("span", "… not saved yet", "state sending"));
}

export function drawCounts({ all, decided, left, seconds_left: seconds, disagreed }, about) {
  $("bar").max = Math.max(1, all);
  $("bar").value = decided;
  const minutes = Number.isFinite(seconds) ? `, about ${seconds < 90 ? "a minute" : seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${Math.round(seconds / 3600)} hours`}` : "";
  const conflicts = about.blind || !disagreed ? "" : `; ${disagreed} in conflict`;
  text("done", `${decided} of ${all} decided, ${left} left${left ? minutes : ""}${conflicts}`);
}
