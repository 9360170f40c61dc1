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

export function button(key, name) {
  const element = made("button", [`${name} `, ...(key ? [made("kbd", key)] : [])]);
  element.type = "button";
  if (key) element.dataset.key = key;
  return element;
}
