// Elements of the page. Text from a report is only ever set as text, never parsed as markup.

/** Return a new element. Attributes that are null or false are left out; children are elements or texts. */
export function element(tag, attributes = {}, ...children) {
  return furnished(document.createElement(tag), attributes, children);
}

/** Return a new element of SVG; the arguments are those of `element`. */
export function svg(tag, attributes = {}, ...children) {
  return furnished(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function furnished(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/** Set the text of an element, without touching the page when it is the same. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Return the element of the page with this id. */
export const byId = (id) => document.getElementById(id);
