// Before anything is drawn: the theme chosen the last time, or what the system prefers.
'use strict';
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem('quorate-theme');
  } catch {
    // Storage may be forbidden; the system's preference holds then.
  }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
