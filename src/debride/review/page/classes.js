// Of images with one class each: a key or a click gives the class.
import { $, button, made } from "./elements.js";

const DIGITS = 9;

export class Classes {
  constructor(about, give) {
    this.names = about.classes.map(each => each.name);
    this.give = give;
    $("classes").addEventListener("submit", event => {
      event.preventDefault();
      const [first] = this.passing();
      if (first) this.choose(first);
      else $("classtext").select();
    });
    $("classtext").addEventListener("input", () => this.draw());
    $("classlist").addEventListener("click", event => {
      const chosen = event.target.closest("button");
      if (chosen) this.choose(chosen.dataset.name);
    });
    $("classtext").parentNode.hidden = this.names.length <= DIGITS;
  }

  passing() {
    const text = $("classtext").value.trim().toLowerCase();
    return this.names.filter(name => name.toLowerCase().includes(text));
  }

  draw(item = this.item) {
    this.item = item;
    $("classes").hidden = false;
    const names = this.passing();
    $("classlist").replaceChildren(...names.length ? [] : [made("span", "No class has this in its name", "soft")], ...names.map(name => {
      const at = this.names.indexOf(name), choice = button(at < DIGITS ? String(at + 1) : "", name);
      delete choice.dataset.key;
      choice.dataset.name = name;
      choice.setAttribute("aria-pressed", item?.mine?.label === name);
      return choice;
    }));
  }

  digit(key) {
    const name = this.names[Number(key) - 1];
    if (name) this.choose(name);
  }

  search() { $("classtext").focus(); }

  choose(name) {
    $("classtext").value = "";
    $("classtext").blur();
    this.give(...decided(this.item, name));
  }
}

// A class as a decision: what is proposed is accepted, what is given is kept.
function decided(item, name) {
  if (item.number && name === item.proposed) return ["accept"];
  if (name === item.given) return [item.number ? "reject" : "verified"];
  return ["edited", name];
}
