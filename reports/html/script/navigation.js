// The section that is being read is marked in the navigation, and kept in view there where it scrolls.
{
  const nav = document.querySelector(".top nav");
  const links = [...nav.querySelectorAll("a")];
  const sections = links.map((link) => byId(link.hash.slice(1)));
  let current = null;

  const mark = () => {
    // The last section that begins above the middle; at the end of the page, the last.
    const ended = scrollY > 0 && innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
    const begun = sections.findLastIndex((section) => section.getBoundingClientRect().top < innerHeight / 3);
    const found = links[ended ? links.length - 1 : Math.max(begun, 0)];
    if (found === current) return;
    current?.removeAttribute("aria-current");
    current = found;
    current.setAttribute("aria-current", "true");
    nav.scrollLeft = current.offsetLeft - (nav.clientWidth - current.clientWidth) / 2;
  };

  // Watched are the sections and the end of the page as they pass a line in the upper third: the order of the page then says which is read.
  const observer = new IntersectionObserver(mark, { rootMargin: "0px 0px -66.6% 0px" });
  for (const section of sections) observer.observe(section);
  new IntersectionObserver(mark).observe(document.querySelector("footer"));
  mark();
}
