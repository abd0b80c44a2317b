// The colours that were chosen for this page, if any, before the page is drawn; otherwise the system's are used.
export const THEMES = ["auto", "light", "dark"];

export function theme() {
  try {
    const chosen = localStorage.getItem("nutcracker-theme");
    return THEMES.includes(chosen) ? chosen : "auto";
  } catch {
    return "auto"; // the browser keeps nothing for this page
  }
}

export function chooseTheme(name) {
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("nutcracker-theme", name);
  } catch {
    // It holds until the page is closed.
  }
}

document.documentElement.dataset.theme = theme();
