// Theme: the system's, light or dark. Kept while the page is open, and beyond where the browser lets a local file keep anything.
{
  const button = byId("theme");
  const signs = { system: "◐", light: "☀", dark: "☾" };
  const themes = Object.keys(signs);
  const show = (theme) => {
    const [sign, word] = button.children;
    sign.textContent = signs[theme];
    word.textContent = theme;
    button.setAttribute("aria-label", `theme: ${theme}`);
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  const remembered = () => { try { return localStorage.getItem("apfgan-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("apfgan-theme", theme); } catch { /* a private window */ } };
  let current = themes.includes(remembered()) ? remembered() : "system";
  show(current);
  button.addEventListener("click", () => {
    current = themes[(themes.indexOf(current) + 1) % themes.length];
    remember(current);
    show(current);
  });
}
