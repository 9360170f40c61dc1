// The keys of the page: one table, from which they act and are listed.
export class Keys {
  constructor(table) {
    this.table = table;
    this.by = new Map(table.flatMap(line => line.keys.map(key => [key, line])));
    document.addEventListener("keydown", event => this.press(event));
    document.addEventListener("click", event => {
      const button = event.target.closest?.("button[data-key]");
      if (button && !button.disabled) this.act(button.dataset.key);
    });
  }

  press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || event.isComposing) return;
    const target = event.target, typing = target.matches("textarea, select, input:not([type=checkbox], [type=range])");
    if (document.querySelector("dialog[open]")) return;
    if (typing) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
    if (event.repeat && this.by.get(event.key)?.once) return;  // no decision by a key held down
    if (this.act(event.key)) event.preventDefault();
  }

  act(key) {
    const line = this.by.get(key);
    if (!line || line.when?.() === false) return false;
    line.act(key);
    return true;
  }

  list(into) {
    into.replaceChildren(...this.table.filter(line => line.text).flatMap(line => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      (line.shown ?? line.keys).forEach(key => {
        const cap = document.createElement("kbd");
        cap.textContent = NAMES[key] ?? key;
        term.append(cap, " ");
      });
      text.textContent = line.text;
      return [term, text];
    }));
  }
}

const NAMES = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" };
