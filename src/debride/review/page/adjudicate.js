// What others decided on an item, and how far readers agree.
import { ask } from "./api.js";
import { $, made } from "./elements.js";
import { WORDS } from "./worklist.js";

export function drawOthers(item, about) {
  const lines = [...(item.mine ? [{ reader: `${about.reader} (me)`, round: about.round, ...item.mine }] : []), ...(item.others ?? [])];
  if (about.blind || !(item.others ?? []).length) return $("others").replaceChildren();
  const head = made("tr", ["Reader", "Decision", "Comment"].map(name => heading(name, "col")));
  const body = lines.map(line => made("tr", [heading(line.reader, "row"), made("td", said(line, about), "words"), made("td", line.comment, "words comment")]));
  $("others").replaceChildren(made("h3", "Who decided what"), wide("Who decided what", made("table", [made("thead", head), made("tbody", body)])));
}

export async function drawAgreement() {
  const { pairs } = await ask("api/agreement");
  const section = $("agreement"), number = value => value === null || value === undefined ? "–" : value.toFixed(2);
  section.hidden = false;
  if (!pairs.length) return section.replaceChildren(made("h3", "Agreement"), made("p", "No two readers decided on the same finding yet.", "soft"));
  const head = () => made("thead", made("tr", ["Kind", "Alike", "Kappa", "95 %"].map(name => heading(name, "col"))));
  const row = pair => made("tr", [heading(pair.kind || "all", "row"), made("td", `${Math.round(pair.agree * pair.items)} of ${pair.items}`),
    made("td", number(pair.kappa)), made("td", pair.low === null ? "–" : `${number(pair.low)} to ${number(pair.high)}`)]);
  const names = [...new Set(pairs.map(pair => pair.readers.join(" and ")))];
  section.replaceChildren(made("h3", "Agreement (Cohen's kappa)"), ...names.flatMap(name => {
    const rows = pairs.filter(pair => pair.readers.join(" and ") === name).map(row);
    return [made("h4", name), wide(`Agreement of ${name}`, made("table", [head(), made("tbody", rows)]))];
  }));
}

// The decision of a line, with what only some have.
function said({ decision, label, round, adjudicates }, about) {
  const named = decision === "edited" && about.task === "classification" ? `: ${label}` : "";
  return WORDS[decision] + named + (round > 1 ? `, round ${round}` : "") + (adjudicates ? ", for all" : "");
}

function heading(name, scope) {
  const cell = made("th", name);
  cell.scope = scope;
  return cell;
}

function wide(name, table) {
  const box = made("div", table, "wide");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", name);
  return box;
}
