// What the theme leaves out for those who read by ear or with the keys alone.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll('.caption[role="heading"]').forEach(caption => caption.setAttribute("aria-level", "2"));
  document.querySelector("aside.sidebar-drawer")?.setAttribute("aria-label", "Pages of this site");
  document.querySelector("aside.toc-drawer")?.setAttribute("aria-label", "On this page");
  for (const area of document.querySelectorAll("pre, .table-wrapper")) {
    if (area.scrollWidth > area.clientWidth) area.tabIndex = 0;
  }
});
