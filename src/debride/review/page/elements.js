// Small things on the elements of the page. Text of the data goes through textContent alone.
export const $ = id => document.getElementById(id);

export function text(id, value) { if ($(id).textContent !== String(value)) $(id).textContent = value; }

export function option(value, name) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = name;
  return made;
}

export function made(tag, content, kind) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...[content ?? []].flat());
  return element;
}

// Puts new children in place of the old; what had the focus has it again, by what `name` says of it.
export function redraw(box, children, name) {
  const active = box.contains(document.activeElement) && name(document.activeElement);
  box.replaceChildren(...children);
  if (active) [...box.querySelectorAll("button, input")].find(each => name(each) === active)?.focus({ preventScroll: true });
}

export function button(key, name) {
  const element = made("button", [`${name} `, ...(key ? [made("kbd", key)] : [])]);
  element.type = "button";
  if (key) element.dataset.key = key;
  return element;
}
